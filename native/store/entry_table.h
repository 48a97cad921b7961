// SPDX-License-Identifier: Apache-2.0
// What a process knows of objects, by the index of their entry: no hash, and no allocation for each. Objects that were made
// one after another are neighbours in the store and so they are here.
//
// A page comes with the first object of its part of the store and goes with the last; a few are kept for the next.
// Thread rules: one thread at a time. Pointers are valid until the last value of their page is taken out.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "store/layout.h"

namespace polyray {

// T{} stands where no value is.
template <class T>
class EntryTable {
 public:
  // The place of an entry; null when no value of its page is there.
  T* find(uint32_t index) {
    const size_t page = index / kPlaces;
    return page < pages_.size() && pages_[page] != nullptr ? &pages_[page]->places[index % kPlaces]
                                                           : nullptr;
  }

  // REQUIRES: no value is there, and `value` is not T{}.
  T& put(uint32_t index, T value) {
    const size_t number = index / kPlaces;
    if (number >= pages_.size()) pages_.resize(number + 1);
    if (pages_[number] == nullptr) pages_[number] = new_page();
    Page& page = *pages_[number];
    ++page.used;
    ++size_;
    return page.places[index % kPlaces] = std::move(value);
  }

  // REQUIRES: a value is there.
  void take_out(uint32_t index) {
    std::unique_ptr<Page>& page = pages_[index / kPlaces];
    page->places[index % kPlaces] = T{};
    --size_;
    if (--page->used > 0) return;
    if (spares_.size() < kSpares) spares_.push_back(std::move(page));
    page.reset();
  }

  size_t size() const { return size_; }

 private:
  static constexpr uint32_t kPlaces = kEntriesPerChunk;
  static constexpr size_t kSpares = 4;  // a call touches entries of a few processes
  struct Page {
    std::array<T, kPlaces> places{};
    uint32_t used = 0;
  };
  std::unique_ptr<Page> new_page() {
    if (spares_.empty()) return std::make_unique<Page>();
    std::unique_ptr<Page> page = std::move(spares_.back());
    spares_.pop_back();
    return page;
  }
  std::vector<std::unique_ptr<Page>> pages_;
  std::vector<std::unique_ptr<Page>> spares_;  // all of their places are T{}
  size_t size_ = 0;
};

}  // namespace polyray
