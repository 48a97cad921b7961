// SPDX-License-Identifier: Apache-2.0
// The end of an endpoint, step by step (see deaths.h).
#include "raylet/deaths.h"

#include <algorithm>
#include <string>

#include "raylet/death_scan.h"
#include "store/row.h"

namespace polyray::raylet {

namespace {

constexpr char kSubmitterDied[] =
    "[object lost] the process that submitted the task ended before the task was done. Submit it "
    "again.";

Claim claim_of(const CallRecord& record) {
  return static_cast<Claim>(record.claim.load(std::memory_order_acquire));
}

// A record slot may hold any payload: only one that looks like a call of this endpoint in every field is taken for one.
bool is_call_of(const Segment& segment, uint64_t offset, const Peer& peer) {
  if (!segment.valid_record(offset)) return false;
  const CallRecord& record = segment.record(offset);
  return record.caller == peer.endpoint && record.caller_serial == peer.serial &&
         record.claim.load(std::memory_order_acquire) <= static_cast<uint32_t>(Claim::kDone) &&
         record.kind >= static_cast<uint16_t>(CallKind::kTask) &&
         record.kind <= static_cast<uint16_t>(CallKind::kActorCall);
}

}  // namespace

Deaths::Report Deaths::handle(const Peer& peer, const Exit& exit) {
  Endpoint& shared = segment_.endpoint(peer.endpoint);
  shared.state.store(static_cast<uint32_t>(EndpointState::kDead), std::memory_order_release);
  Grave& grave = graves_[peer.endpoint];
  grave.serial = peer.serial;
  grave.in_ring = peer.in_ring;
  grave.out_ring = peer.out_ring;
  for (auto& [endpoint, other] : graves_) other.waits_for.erase(peer.peer_id());

  Report report;
  undo_seal(peer.endpoint);
  settle_records(peer, report);
  reclaim_bytes(peer.endpoint);
  std::vector<ObjectId> zero;
  sweep_row(segment_, peer.endpoint, [&zero](const ObjectId& id) { zero.push_back(id); });
  frees_.client_gone(peer.endpoint);
  for (const ObjectId& id : zero) frees_.released(id);
  settle_supervised(peer.endpoint);
  orphan_chunks(segment_, peer.endpoint);
  // Only now: a contact that reads this takes entries over which the dead one was sealing, and the passes above write them.
  const uint64_t info =
      static_cast<uint32_t>(exit.code) | uint64_t{static_cast<uint32_t>(exit.signal)} << 32;
  for (const uint32_t contact : peer.contacts) {
    Peer* other = peers_.find(contact);
    if (other == nullptr) continue;
    grave.waits_for.insert(other->peer_id());
    peers_.send(*other, RingSlot{static_cast<uint32_t>(Rec::kPeerGone), peer.endpoint, info,
                                 memory_word(*other, exit), peer.serial});
  }
  // Calls of earlier dead submitters that ran here.
  for (auto it = adopted_.begin(); it != adopted_.end();) {
    if (it->target != peer.peer_id()) {
      ++it;
      continue;
    }
    const Adopted call = std::move(*it);
    it = adopted_.erase(it);
    finish(call);
  }
  frees_.recheck_subscriptions();
  bury_the_ready();
  return report;
}

uint64_t Deaths::memory_word(const Peer& to, const Exit& exit) {
  if (exit.memory.empty()) return 0;
  const auto* bytes = reinterpret_cast<const uint8_t*>(exit.memory.c_str());
  const uint64_t offset = peers_.store_payload(to.endpoint, {bytes, exit.memory.size() + 1});
  return offset == 0 ? 0 : offset | (exit.again ? 1 : 0);
}

void Deaths::undo_seal(uint32_t endpoint) {
  Endpoint& shared = segment_.endpoint(endpoint);
  const uint32_t index = shared.sealing.exchange(0, std::memory_order_acq_rel);
  const uint32_t added = shared.seal_progress.exchange(0, std::memory_order_acq_rel);
  if (index == 0 ||
      !segment_.valid_slot(uint64_t{index} * kEntryBytes, ChunkKind::kEntries, kEntryBytes))
    return;
  const ObjectEntry& entry = segment_.entry(index);
  if (entry.sealer.load(std::memory_order_acquire) != endpoint + 1) return;
  const uint32_t state = entry.state.load(std::memory_order_acquire);
  if (static_cast<EntryState>(state & kEntryStateMask) == EntryState::kPending)
    frees_.undo_nested(entry, added);
}

void Deaths::settle_records(const Peer& peer, Report& report) {
  for_each_slot(segment_, ChunkKind::kRecords, peer.endpoint + 1, [&](uint64_t offset) {
    if (!is_call_of(segment_, offset, peer)) return;
    CallRecord& record = segment_.record(offset);
    if (claim_of(record) == Claim::kQueued && claim_retract(record.claim)) return;
    if (claim_of(record) != Claim::kRunning || peers_.find(record.target) == nullptr) return;
    Adopted call;
    call.record = offset;
    call.caller = peer.endpoint;
    call.target = record.target;
    const auto* ids = reinterpret_cast<const ObjectId*>(&record + 1);
    for (uint32_t i = 0; i < record.return_count + record.ref_count; ++i) {
      const ObjectId id = ids[i];
      if (!frees_.hold(id)) continue;
      (i < record.return_count ? call.returns : call.refs).push_back(id);
    }
    for (const ObjectId& id : call.returns)
      if (ObjectEntry* entry = segment_.find(id))
        entry->supervisor.store(kRayletEndpoint, std::memory_order_release);
    report.busy_workers.insert(static_cast<uint32_t>(record.target));
    adopted_.push_back(std::move(call));
  });
}

void Deaths::reclaim_bytes(uint32_t endpoint) {
  const DeathScan scan = scan_entries(segment_, endpoint);
  for (const ObjectId& id : scan.unreferenced) frees_.released(id);
  retire_slab_slots(segment_, endpoint, scan);
  orphan_slabs(segment_, endpoint, [](uint64_t, uint64_t) {});
  extents_.client_gone(endpoint, [&](uint64_t offset, uint64_t bytes) {
    return is_slab(segment_, offset) || scan.uses(offset, bytes);
  });
}

void Deaths::settle_supervised(uint32_t endpoint) {
  std::vector<ObjectId> ids;
  for_each_slot(segment_, ChunkKind::kEntries, endpoint + 1, [&](uint64_t offset) {
    const ObjectEntry& entry = segment_.entry(static_cast<uint32_t>(offset / kEntryBytes));
    const uint32_t state = entry.state.load(std::memory_order_acquire);
    if (static_cast<EntryState>(state & kEntryStateMask) != EntryState::kPending ||
        (state & kEntryActor) != 0)
      return;
    if (entry.supervisor.load(std::memory_order_acquire) != endpoint) return;
    ids.push_back({segment_.header().node_tag, static_cast<uint32_t>(offset / kEntryBytes),
                   entry.unique.load(std::memory_order_acquire)});
  });
  for (const ObjectId& id : ids) {
    // Half-made entries that nobody counted yet go at once.
    ObjectEntry* entry = segment_.find(id);
    if (entry != nullptr && entry->refs.load(std::memory_order_acquire) == 0)
      frees_.released(id);
    else
      frees_.seal_error(id, StatusCode::kObjectLost, kSubmitterDied);
  }
}

void Deaths::finish(const Adopted& call) {
  for (const ObjectId& id : call.returns) {
    frees_.seal_error(id, StatusCode::kObjectLost, kSubmitterDied);
    frees_.drop(id);
  }
  for (const ObjectId& id : call.refs) frees_.drop(id);
  const auto worker = static_cast<uint32_t>(call.target);
  const bool more = std::any_of(adopted_.begin(), adopted_.end(), [&call](const Adopted& other) {
    return other.target == call.target;
  });
  if (!more) on_adopted_done_(worker);
}

void Deaths::acknowledged(const Peer& by, uint32_t endpoint, uint32_t serial) {
  const auto it = graves_.find(endpoint);
  if (it == graves_.end() || it->second.serial != serial) return;
  it->second.waits_for.erase(by.peer_id());
  bury_the_ready();
}

void Deaths::bury_the_ready() {
  std::set<uint32_t> held;
  for (const Adopted& call : adopted_) held.insert(call.caller);
  std::vector<uint32_t> ready;
  for (const auto& [endpoint, grave] : graves_)
    if (grave.waits_for.empty() && !held.contains(endpoint)) ready.push_back(endpoint);
  for (const uint32_t endpoint : ready) bury(endpoint);
}

void Deaths::bury(uint32_t endpoint) {
  const Grave grave = graves_.at(endpoint);
  graves_.erase(endpoint);
  release_chunks(segment_, endpoint);
  reclaim_orphans(segment_);
  peers_.recycle(endpoint, grave.in_ring, grave.out_ring);
}

void Deaths::step(uint64_t now_ms) {
  if (adopted_.empty()) {
    poll_at_ms_ = 0;
    return;
  }
  if (poll_at_ms_ > now_ms) return;
  poll_at_ms_ = now_ms + kAdoptedPollMs;
  std::vector<Adopted> done;
  std::erase_if(adopted_, [&](Adopted& call) {
    if (claim_of(segment_.record(call.record)) != Claim::kDone) return false;
    done.push_back(std::move(call));
    return true;
  });
  for (const Adopted& call : done) finish(call);
  if (!done.empty()) bury_the_ready();
}

std::optional<uint64_t> Deaths::next_deadline_ms() const {
  if (adopted_.empty()) return std::nullopt;
  return poll_at_ms_;
}

}  // namespace polyray::raylet
