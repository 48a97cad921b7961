// SPDX-License-Identifier: Apache-2.0
// What the raylet does with each record of a client (wire/messages.h), and with each effect of the lease queue.
#include "raylet/core.h"
#include "raylet/json_text.h"
#include "raylet/lease_spec.h"

namespace polyray::raylet {

void RayletCore::record(Peer& from, const RingSlot& slot) {
  switch (static_cast<Rec>(slot.kind)) {
    case Rec::kRelease:
      frees_.released(id_of(slot));
      break;
    case Rec::kSealed:
      frees_.sealed(id_of(slot));
      break;
    case Rec::kSubscribe:
      frees_.subscribe(from, id_of(slot));
      break;
    case Rec::kFreeObject:
      frees_.free_bytes(id_of(slot));
      break;
    case Rec::kExtentRequest:
      extents_.request(from, slot, now_ms_);
      break;
    case Rec::kExtentReturn:
      extents_.give_back(from, slot.b);
      break;
    case Rec::kLeaseRequest:
      lease_request(from, slot);
      break;
    case Rec::kLeaseBacklog:
      leases_changed_ = true;
      if (!leases_.set_backlog(from.endpoint, slot.a, static_cast<uint32_t>(slot.d),
                               static_cast<int32_t>(slot.b)) &&
          slot.d != 0) {
        const RingSlot answer{static_cast<uint32_t>(Rec::kLeaseFailed), slot.a, 0, 0, 0};
        peers_.send_text(from, answer, json_error(StatusCode::kNotFound, "no such lease request"));
      }
      break;
    case Rec::kLeaseReturn:
      leases_.give_back(from.endpoint, slot.a, now_ms_);
      leases_changed_ = true;
      break;
    case Rec::kBlocked:
      leases_.worker_blocked(from.endpoint, slot.a == 1);
      leases_changed_ = true;
      break;
    case Rec::kService:
      relay_.call(from, slot);
      break;
    case Rec::kServiceReply:
      relay_.reply(from, slot);
      break;
    case Rec::kServicePush:
      relay_.push(from, slot);
      break;
    case Rec::kPeerGoneAck:
      leases_.forget_gone(from.endpoint, slot.a, static_cast<uint32_t>(slot.d));
      deaths_.acknowledged(from, slot.a, static_cast<uint32_t>(slot.d));
      break;
    case Rec::kWorkerReady:
      leases_.worker_ready(from.endpoint, now_ms_);
      leases_changed_ = true;
      break;
    case Rec::kWorkerExit:
      leases_.worker_leaving(from.endpoint);
      leases_changed_ = true;
      break;
    case Rec::kRayletCommand:
      if (peers_.service() == &from)
        command(from, slot);
      else if (static_cast<RayletOp>(slot.a) == RayletOp::kPrestart)
        first_worker(from, slot);
      break;
    case Rec::kAlarmRequest:
      alarms_[from.peer_id()] = slot.b;
      break;
    case Rec::kControlPeer:
      control_peer(slot);
      break;
    case Rec::kLeaseActive:
      leases_active();
      break;
    default:
      break;  // kGcDone: what it released came before it; unknown records are ignored
  }
}

void RayletCore::lease_request(Peer& from, const RingSlot& slot) {
  const auto payload = peers_.take_payload(from, slot.b, slot.c);
  std::optional<LeaseClass> spec;
  if (payload) spec = read_lease_class(*payload);
  if (!spec) {
    const RingSlot answer{static_cast<uint32_t>(Rec::kLeaseFailed), slot.a, 0, 0, 0};
    peers_.send_text(from, answer,
                     json_error(StatusCode::kBadRecord, "the lease request is misshapen"));
    return;
  }
  if (spec->pool.job != 0 && !peers_.job_alive(spec->pool.job)) {
    const RingSlot answer{static_cast<uint32_t>(Rec::kLeaseFailed), slot.a, 0, 0, 0};
    peers_.send_text(from, answer, json_error(StatusCode::kOwnerDied, "the job has ended"));
    return;
  }
  leases_.request(from.endpoint, slot.a, std::move(*spec), static_cast<uint32_t>(slot.d));
  leases_changed_ = true;
}

void RayletCore::control_peer(const RingSlot& slot) {
  Peer* peer = peers_.find(slot.d);
  if (peer == nullptr) return;
  const auto op = static_cast<ControlOp>(slot.a);
  if (op == ControlOp::kKill)
    processes_.end(slot.d, peer->startup_token, 0, now_ms_);
  else
    door_.control(*peer, op);
}

void RayletCore::command(Peer& from, const RingSlot& slot) {
  switch (static_cast<RayletOp>(slot.a)) {
    case RayletOp::kWorkerFailed: {
      const auto payload = peers_.take_payload(from, slot.c, slot.d);
      const std::string text =
          payload ? std::string(payload->begin(), payload->end())
                  : json_error(StatusCode::kWorkerCrashed, "the worker could not be started");
      const Worker* worker = workers_.by_token(slot.b);
      if (worker != nullptr && worker->endpoint != 0) break;  // it attached: its socket tells
      leases_.start_failed(slot.b, text);
      processes_.gone(slot.b);
      leases_changed_ = true;
      break;
    }
    case RayletOp::kWorkerStarted:
      processes_.started(slot.b, static_cast<uint32_t>(slot.c));
      if (workers_.by_token(slot.b) == nullptr)
        processes_.gone(slot.b);  // nobody wants it any more
      else
        attach_by_ms_[slot.b] = now_ms_ + options_.worker_start_timeout_ms;
      break;
    case RayletOp::kWorkerExited:
      worker_exited(slot.b, {static_cast<int32_t>(slot.c), static_cast<int32_t>(slot.d)});
      break;
    case RayletOp::kWatchLeases:
      watch_leases();
      break;
    case RayletOp::kEndForMemory: {
      const auto payload = peers_.take_payload(from, slot.c, slot.d);
      if (payload) end_for_memory(slot.b, std::string(payload->begin(), payload->end()));
      break;
    }
    case RayletOp::kKillEndpoint: {
      const Peer* peer = peers_.find(slot.b);
      if (peer != nullptr)
        processes_.end(slot.b, peer->startup_token, slot.c == 1 ? 0 : slot.d, now_ms_);
      break;
    }
    case RayletOp::kEndJob: {
      const auto job = static_cast<uint32_t>(slot.b);
      peers_.end_job(job);
      if (job != 0) job_ended(job);
      leases_changed_ = true;
      break;
    }
    case RayletOp::kGroupAdd:
    case RayletOp::kGroupRemove: {
      const auto payload = peers_.take_payload(from, slot.c, slot.d);
      std::optional<GroupClass> group;
      if (payload) group = read_group(*payload);
      if (!group) break;
      if (static_cast<RayletOp>(slot.a) == RayletOp::kGroupAdd)
        leases_.add_group(std::move(*group));
      else
        leases_.remove_group(group->id, now_ms_);
      leases_changed_ = true;
      break;
    }
    case RayletOp::kPrestart: {
      const auto payload = peers_.take_payload(from, slot.c, slot.d);
      const PoolKey pool{static_cast<uint32_t>(slot.b), static_cast<uint32_t>(slot.b >> 32),
                         payload ? std::string(payload->begin(), payload->end()) : ""};
      if (!payload || !peers_.job_alive(pool.job) || workers_.pool_size(pool) != 0) break;
      need_worker(workers_.start(pool, 0, ResourceSet(), false), pool, false);
      break;
    }
  }
}

// Who embeds the raylet starts the first worker of its job: the service, which starts all others, still boots.
void RayletCore::first_worker(Peer& from, const RingSlot& slot) {
  const auto payload = peers_.take_payload(from, slot.c, slot.d);
  const auto job = static_cast<uint32_t>(slot.b);
  if (!payload || from.kind != EndpointKind::kDriver || from.pid != os::own_pid() ||
      job != from.job)
    return;
  const PoolKey pool{job, static_cast<uint32_t>(slot.b >> 32),
                     std::string(payload->begin(), payload->end())};
  if (workers_.start_first(pool)) ++workers_started_;
}

void RayletCore::apply(const LeaseEffect& effect) {
  Peer* client = effect.client != 0 ? peers_.find(effect.client) : nullptr;
  switch (effect.kind) {
    case LeaseEffect::Kind::kGrant:
      segment_->endpoint(effect.worker).devices.store(effect.devices, std::memory_order_release);
      peers_.contact(effect.client, effect.worker);
      leases_active();
      if (client != nullptr) {
        const uint64_t worker = uint64_t{effect.worker} | uint64_t{effect.serial} << 32;
        peers_.send(*client, RingSlot{static_cast<uint32_t>(Rec::kLeaseGrant), effect.request,
                                      worker, effect.lease, 0});
      }
      break;
    case LeaseEffect::Kind::kStart:
      need_worker(effect.token, effect.spec->pool, effect.spec->dedicated);
      break;
    case LeaseEffect::Kind::kFail:
      if (client != nullptr) {
        const RingSlot slot{static_cast<uint32_t>(Rec::kLeaseFailed), effect.request, 0, 0, 0};
        peers_.send_text(*client, slot,
                         effect.code == StatusCode::kOk ? effect.message
                                                        : json_error(effect.code, effect.message));
      }
      break;
    case LeaseEffect::Kind::kInfeasible: {
      JsonObject event("infeasible");
      event.number("endpoint", effect.client)
          .number("request", effect.request)
          .number("job", effect.spec->pool.job);
      peers_.event(event.raw("resources", effect.spec->need.json()).take());
      break;
    }
    case LeaseEffect::Kind::kEndWorker:
      if (const Worker* worker = workers_.by_token(effect.token)) {
        const uint64_t peer_id = uint64_t{worker->endpoint} | uint64_t{worker->serial} << 32;
        processes_.end(peer_id, effect.token, effect.at_once ? 0 : kActorGraceMs, now_ms_);
      }
      break;
    case LeaseEffect::Kind::kGroupReady: {
      JsonObject event("group_ready");
      peers_.event(event.text("group", effect.message).take());
      break;
    }
  }
}

void RayletCore::need_worker(uint64_t token, const PoolKey& pool, bool dedicated) {
  ++workers_started_;
  JsonObject event("worker_needed");
  event.number("startupToken", static_cast<int64_t>(token)).number("language", pool.language);
  event.number("job", pool.job).text("key", pool.key).boolean("dedicated", dedicated);
  peers_.event(event.take());
}

}  // namespace polyray::raylet
