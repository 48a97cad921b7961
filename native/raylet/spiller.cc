// SPDX-License-Identifier: Apache-2.0
// Choosing, writing and letting go of what is spilled (see spiller.h).
#include "raylet/spiller.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "store/spill_place.h"

namespace polyray::raylet {

namespace {

constexpr uint64_t kOwnFileBytes = 1024 * 1024;  // bigger values have a file of their own
constexpr uint64_t kSharedFileBytes = 4 * 1024 * 1024;
constexpr uint64_t kPieceAlignment = 64;

bool is_spillable(const ObjectEntry& entry) {
  const uint32_t state = entry.state.load(std::memory_order_acquire);
  const uint32_t refs = entry.refs.load(std::memory_order_acquire);
  return static_cast<EntryState>(state & kEntryStateMask) == EntryState::kSealed &&
         (state & (kEntryInline | kEntrySpilled | kEntryFreed | kEntryKeep)) == 0 &&
         entry.offset != 0 && refs != 0 && (refs & kRefsClosed) == 0 &&
         entry.pins.load(std::memory_order_acquire) == 0;
}

}  // namespace

void Spiller::open(std::vector<std::string> folders,
                   std::function<void(const std::string&)> announce) {
  folder_rests_until_ms_.assign(folders.size(), 0);
  announce_ = std::move(announce);
  table_.set_folders(std::move(folders));
}

// Makes the folders, once.
bool Spiller::ready(uint64_t now_ms) {
  if (table_.folders().empty()) return false;
  if (published_) return true;
  for (size_t i = 0; i < table_.folders().size(); ++i) {
    announce_(table_.folders()[i]);
    Status made = os::make_folder(table_.folders()[i]);
    if (made.is_ok()) continue;
    folder_rests_until_ms_[i] = now_ms + kFolderRestMs;
    extents_.cannot_spill(made);
  }
  published_ = publish_spill_folders(segment_, records_, table_.folders()).is_ok();
  return published_;
}

std::optional<uint32_t> Spiller::next_folder(uint64_t now_ms) {
  for (size_t i = 0; i < folder_rests_until_ms_.size(); ++i) {
    const uint32_t folder = next_folder_++ % static_cast<uint32_t>(folder_rests_until_ms_.size());
    if (folder_rests_until_ms_[folder] <= now_ms) return folder;
  }
  return std::nullopt;
}

// One pass over all entries.
void Spiller::scan(uint64_t bytes) {
  extents_of_own_.clear();
  small_.clear();
  for_each_entry(segment_, [&](const ObjectId& id, const ObjectEntry& entry) {
    const uint64_t offset = entry.offset;
    const uint64_t size = entry.size;
    if (!is_spillable(entry) || !segment_.valid_data(offset, size)) return;
    const Victim victim{entry.touched_ms.load(std::memory_order_relaxed), id, size, offset};
    if (is_slab(segment_, offset))
      small_.push_back(victim);
    else
      extents_of_own_.push_back(victim);
  });
  std::sort(extents_of_own_.begin(), extents_of_own_.end(), [](const Victim& a, const Victim& b) {
    return a.touched_ms != b.touched_ms ? a.touched_ms < b.touched_ms : a.id.unique < b.id.unique;
  });
  choose_granules(bytes);
}

// Small values help only when their whole granule becomes free, and all of them together make the room that is wanted.
void Spiller::choose_granules(uint64_t bytes) {
  granules_.clear();
  uint64_t room = 0;
  std::map<uint64_t, std::vector<Victim>> by_granule;
  for (const Victim& victim : small_)
    by_granule[segment_.granule_of(victim.offset)].push_back(victim);
  small_.clear();
  for (auto& [granule, victims] : by_granule)
    if (victims.size() == count_used(segment_.slab(granule).used)) {
      granules_.insert(granules_.end(), victims.begin(), victims.end());
      room += kGranuleBytes;
    }
  const uint64_t used = std::min(extents_.used_bytes(), extents_.capacity_bytes());
  if (room + extents_.capacity_bytes() - used < bytes) granules_.clear();
}

// Pins it for the write. False: it is not what it was at the scan.
bool Spiller::take(const Victim& victim, Writing& writing, std::vector<SpillPiece>& pieces) {
  ObjectEntry* entry = segment_.find(victim.id);
  if (entry == nullptr || !is_spillable(*entry)) return false;
  uint32_t none = 0;
  if (!entry->pins.compare_exchange_strong(none, 1, std::memory_order_acq_rel)) return false;
  const uint64_t at = (writing.bytes + kPieceAlignment - 1) & ~(kPieceAlignment - 1);
  pieces.push_back({segment_.read(entry->offset), entry->size, at});
  writing.items.push_back({victim.id, entry->size, at, frees_.nested_of(victim.id)});
  writing.bytes = at + entry->size;
  return true;
}

// Starts the write of one file. False: there is no victim, or no folder that takes it.
bool Spiller::start(std::deque<Victim>& victims, uint64_t most, uint64_t now_ms) {
  const std::optional<uint32_t> folder = next_folder(now_ms);
  if (!folder) return false;
  Writing writing{0, 0, {}};
  std::vector<SpillPiece> pieces;
  while (!victims.empty() && writing.bytes < most) {
    const bool alone = victims.front().bytes >= kOwnFileBytes;
    if (alone && !pieces.empty()) break;
    const Victim victim = victims.front();
    victims.pop_front();
    if (take(victim, writing, pieces) && alone) break;
  }
  if (pieces.empty()) return false;
  writing.file = table_.open_file(*folder);
  writing_bytes_ += writing.bytes;
  table_.files().write(writing.file, table_.path_of(writing.file), std::move(pieces));
  writing_.push_back(std::move(writing));
  return true;
}

bool Spiller::make_room(uint64_t bytes, uint64_t now_ms) {
  retry_at_ms_.reset();
  if (bytes == 0 || !ready(now_ms)) return false;
  // Free memory counts, so that no more goes than has to; where it lies in pieces too small, one value more goes at a time.
  const uint64_t used = std::min(extents_.used_bytes(), extents_.capacity_bytes());
  const uint64_t free = extents_.capacity_bytes() - used;
  const uint64_t missing = free < bytes ? bytes - free : 1;
  bool scanned = false;
  while (writing_bytes_ < missing) {
    const uint64_t most = std::min(kSharedFileBytes, missing - writing_bytes_);
    if (start(extents_of_own_, most, now_ms)) continue;
    if (writing_.empty() && start(granules_, std::max(bytes, kSharedFileBytes), now_ms)) continue;
    if (scanned || now_ms < scanned_at_ms_ + (writing_.empty() ? kScanEveryMs : 0)) break;
    scan(bytes);
    scanned = true;
    scanned_at_ms_ = now_ms;
  }
  if (writing_.empty()) retry_at_ms_ = now_ms + kScanEveryMs;
  return !writing_.empty();
}

void Spiller::step(uint64_t now_ms) {
  for (const SpillFiles::Done& done : table_.files().take_done()) {
    const auto it = std::find_if(writing_.begin(), writing_.end(),
                                 [&](const Writing& w) { return w.file == done.file; });
    if (it == writing_.end()) continue;
    const Writing writing = std::move(*it);
    writing_.erase(it);
    writing_bytes_ -= writing.bytes;
    write_ns_ += done.took_ns;
    if (!done.status.is_ok()) {
      folder_rests_until_ms_[table_.folder_of(writing.file)] = now_ms + kFolderRestMs;
      const bool all_rest =
          std::all_of(folder_rests_until_ms_.begin(), folder_rests_until_ms_.end(),
                      [now_ms](uint64_t until_ms) { return until_ms > now_ms; });
      if (all_rest) extents_.cannot_spill(done.status);
    }
    finish(writing, done.status.is_ok());
  }
}

void Spiller::finish(const Writing& writing, bool written) {
  std::set<uint32_t> owners;
  for (const Item& item : writing.items) {
    const ObjectEntry* entry = segment_.find(item.id);
    if (entry != nullptr && is_slab(segment_, entry->offset)) {
      const uint32_t owner =
          segment_.slab(segment_.granule_of(entry->offset)).owner.load(std::memory_order_acquire);
      if (owner != 0 && owner != kOwnerOrphan) owners.insert(owner - 1);
    }
    finish_item(writing, item, written);
  }
  table_.close_file(writing.file, written);
  for (const uint32_t owner : owners) extents_.slots_came_free(owner);
}

void Spiller::finish_item(const Writing& writing, const Item& item, bool written) {
  ObjectEntry* entry = segment_.find(item.id);
  if (entry == nullptr) return;
  pin_release(entry->pins);
  // Only this thread closes references, so what is read here stays true.
  if ((entry->refs.load(std::memory_order_acquire) & kRefsClosed) != 0)
    return frees_.released(item.id);
  if ((entry->state.load(std::memory_order_acquire) & kEntryFreed) != 0)
    return frees_.free_bytes(item.id);
  if (!written || !evict_close(entry->pins)) return;  // somebody reads it: it stays
  const uint64_t offset = entry->offset;
  const SpillPlace place{writing.file, item.at, table_.folder_of(writing.file), 0};
  std::memcpy(entry->inline_data, &place, sizeof(place));
  entry->offset = 0;
  entry->capacity = 0;
  table_.add(item.id, writing.file, item.bytes, item.nested);
  entry->state.fetch_or(kEntrySpilled, std::memory_order_acq_rel);
  extents_.free_object_bytes(offset);
}

}  // namespace polyray::raylet
