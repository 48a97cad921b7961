// SPDX-License-Identifier: Apache-2.0
// Copying big values: stores that go past the caches, and pages of the source made present in one go.
//
// A store that misses the caches reads its line first, which costs a third of the memory's bandwidth and throws out what
// the program works on. Non-temporal stores do neither. Lanes a page apart keep several rows of the memory open, which is
// worth more than the width of the stores: 16-byte ones are as fast as 64-byte ones, so every x86-64 processor takes the
// same way. Other processors take memcpy.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "os/env.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

namespace polyray::os {

namespace {

constexpr size_t kPage = 4096;
// Below it the bytes may well be read out of the cache next.
constexpr size_t kStreamBytes = 4 * 1024 * 1024;
// How much is looked at and copied at a time: its pages' presence fits on the stack.
constexpr size_t kPieceBytes = 16 * 1024 * 1024;
constexpr size_t kManyAbsent = 64;

// Memory that a program got and never wrote (an array of zeros) has no pages: reading it takes a fault for each. Asked for
// together they cost a third.
void make_present(const uint8_t* from, size_t bytes) {
  const uintptr_t start = reinterpret_cast<uintptr_t>(from) & ~(kPage - 1);
  const size_t pages = (reinterpret_cast<uintptr_t>(from) + bytes - start + kPage - 1) / kPage;
  unsigned char present[kPieceBytes / kPage + 1];
  if (pages > sizeof(present)) return;
  void* address = reinterpret_cast<void*>(start);
  if (::mincore(address, pages * kPage, present) != 0) return;
  const auto absent = static_cast<size_t>(
      std::count_if(present, present + pages, [](unsigned char page) { return (page & 1) == 0; }));
  // A refusal does no harm: then each page is a fault again.
  if (absent >= kManyAbsent) ::madvise(address, pages * kPage, MADV_POPULATE_READ);
}

#if defined(__x86_64__)

constexpr size_t kLine = 64;
constexpr size_t kLanes = 8;
constexpr size_t kBlock = kLanes * kPage;

void stream_line(uint8_t* to, const uint8_t* from) {
  const auto* source = reinterpret_cast<const __m128i*>(from);
  auto* target = reinterpret_cast<__m128i*>(to);
  const __m128i a = _mm_loadu_si128(source);
  const __m128i b = _mm_loadu_si128(source + 1);
  const __m128i c = _mm_loadu_si128(source + 2);
  const __m128i d = _mm_loadu_si128(source + 3);
  _mm_stream_si128(target, a);
  _mm_stream_si128(target + 1, b);
  _mm_stream_si128(target + 2, c);
  _mm_stream_si128(target + 3, d);
}

void stream(uint8_t* to, const uint8_t* from, size_t bytes) {
  const size_t lead = std::min(bytes, (kLine - reinterpret_cast<uintptr_t>(to) % kLine) % kLine);
  std::memcpy(to, from, lead);
  size_t at = lead;
  for (; at + kBlock <= bytes; at += kBlock)
    for (size_t line = at; line < at + kPage; line += kLine)
      for (size_t lane = line; lane < line + kBlock; lane += kPage)
        stream_line(to + lane, from + lane);
  std::memcpy(to + at, from + at, bytes - at);
  _mm_sfence();  // whoever sees the object sealed sees its bytes
}

#else

void stream(uint8_t* to, const uint8_t* from, size_t bytes) {
  std::memcpy(to, from, bytes);
}

#endif

}  // namespace

void copy_bytes(void* to, const void* from, size_t bytes) {
  if (bytes < kStreamBytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
    return;
  }
  auto* target = static_cast<uint8_t*>(to);
  const auto* source = static_cast<const uint8_t*>(from);
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    const size_t piece = std::min(kPieceBytes, bytes - at);
    make_present(source + at, piece);
    stream(target + at, source + at, piece);
  }
}

}  // namespace polyray::os
