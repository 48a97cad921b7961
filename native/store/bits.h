// SPDX-License-Identifier: Apache-2.0
// The bitmaps of used slots in ChunkHeader and SlabHeader, and words that only rise.
//
// Only the owner of a chunk or slab sets bits, so "this bit is 0" stays true under the owner; anybody may clear one.
#pragma once
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <optional>

namespace polyray {

using UsedBits = std::atomic<uint64_t>[64];

inline bool none_used(const UsedBits& used) {
  return std::all_of(std::begin(used), std::end(used), [](const std::atomic<uint64_t>& word) {
    return word.load(std::memory_order_acquire) == 0;
  });
}

inline uint32_t count_used(const UsedBits& used) {
  uint32_t count = 0;
  for (const auto& word : used)
    count += static_cast<uint32_t>(std::popcount(word.load(std::memory_order_acquire)));
  return count;
}

// Calls visit(slot number) for each used slot, each word read once.
template <class Visit>
void for_each_used(const UsedBits& used, Visit&& visit) {
  for (uint32_t word = 0; word < 64; ++word)
    for (uint64_t bits = used[word].load(std::memory_order_acquire); bits != 0; bits &= bits - 1)
      visit(word * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
}

// The first free slot of `count`, looked for from `word` on, which becomes the word where it was found.
inline std::optional<uint32_t> find_unused(const UsedBits& used, uint32_t count, uint32_t& word) {
  const uint32_t words = std::min((count + 63) / 64, 64u);
  for (uint32_t i = 0; i < words; ++i) {
    const uint32_t here = (word + i) % words;
    const uint32_t slots_here = std::min<uint32_t>(64, count - here * 64);
    const uint64_t all = slots_here == 64 ? ~uint64_t{0} : (uint64_t{1} << slots_here) - 1;
    const uint64_t free_bits = ~used[here].load(std::memory_order_acquire) & all;
    if (free_bits == 0) continue;
    word = here;
    return here * 64 + static_cast<uint32_t>(std::countr_zero(free_bits));
  }
  return std::nullopt;
}

inline void raise_to(std::atomic<uint64_t>& word, uint64_t value) {
  uint64_t seen = word.load(std::memory_order_relaxed);
  while (seen < value && !word.compare_exchange_weak(seen, value, std::memory_order_acq_rel)) {
  }
}

}  // namespace polyray
