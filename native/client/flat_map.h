// SPDX-License-Identifier: Apache-2.0
// A small open-addressing hash map from a non-zero 64-bit key to a plain value: no allocation per insert.
//
// Linear probing, deletion by shifting back (no tombstones), grows at 3/4. Key 0 is never valid.
// Thread rules: one thread at a time. Pointers returned by find are valid until the next insert or erase.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace polyray {

template <class T>
class FlatMap {
 public:
  FlatMap() : slots_(16) {}

  T* find(uint64_t key) {
    if (size_ == 0) return nullptr;
    for (size_t i = home(key);; i = next(i)) {
      if (slots_[i].key == key) return &slots_[i].value;
      if (slots_[i].key == 0) return nullptr;
    }
  }

  // The value of `key`, made from T{} when it was not there.
  T& operator[](uint64_t key) {
    if ((size_ + 1) * 4 > slots_.size() * 3) grow();
    for (size_t i = home(key);; i = next(i)) {
      if (slots_[i].key == key) return slots_[i].value;
      if (slots_[i].key == 0) {
        slots_[i].key = key;
        slots_[i].value = T{};
        ++size_;
        return slots_[i].value;
      }
    }
  }

  bool erase(uint64_t key) {
    if (size_ == 0) return false;
    size_t i = home(key);
    while (slots_[i].key != key) {
      if (slots_[i].key == 0) return false;
      i = next(i);
    }
    for (size_t j = next(i); slots_[j].key != 0; j = next(j)) {
      const size_t want = home(slots_[j].key);
      // j may move to i when its home does not lie cyclically in (i, j].
      const bool stays = i <= j ? (i < want && want <= j) : (i < want || want <= j);
      if (stays) continue;
      slots_[i] = slots_[j];
      i = j;
    }
    slots_[i].key = 0;
    slots_[i].value = T{};
    --size_;
    return true;
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  template <class F>
  void for_each(F&& visit) {
    for (auto& slot : slots_)
      if (slot.key != 0) visit(slot.key, slot.value);
  }

 private:
  struct Slot {
    uint64_t key = 0;
    T value{};
  };
  static uint64_t mix(uint64_t key) {
    key *= 0x9e3779b97f4a7c15ULL;
    return key ^ (key >> 32);
  }
  size_t home(uint64_t key) const { return mix(key) & (slots_.size() - 1); }
  size_t next(size_t i) const { return (i + 1) & (slots_.size() - 1); }
  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    size_ = 0;
    for (auto& slot : old)
      if (slot.key != 0) (*this)[slot.key] = slot.value;
  }
  std::vector<Slot> slots_;
  size_t size_ = 0;
};

}  // namespace polyray
