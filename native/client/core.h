// SPDX-License-Identifier: Apache-2.0
// The one implementation of Client. Its parts, one file each: attach (life), objects and memory (bytes), calls (submit,
// settle), peers (rings to others), executor (calls that run here), service (control messages), poll (dispatch).
//
// Records are drained from the rings into `inbox_` first and handled after: whoever must wait for the raylet in the middle
// of something (memory) drains again without any handler running inside another.
// Completions go through `ready_`, a work list, so that long chains of dependent calls do not recurse.
// Thread rules: see client.h. After fork the child only reads `detached_`.
#pragma once
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "client/actor_queue.h"
#include "client/brief_watch.h"
#include "client/call_list.h"
#include "client/client.h"
#include "client/flat_map.h"
#include "client/task_queue.h"
#include "os/env.h"
#include "store/error_envelope.h"
#include "store/ring.h"
#include "store/row.h"
#include "store/slab.h"
#include "store/slots.h"

namespace polyray {

inline constexpr uint64_t kMaxRecordArgs =
    32 * 1024;  // larger argument envelopes are put as an object
inline constexpr uint32_t kNoNumber = 0xffffffff;

// A call that this client submitted and has not settled yet.
struct PendingCall {
  enum class State : uint8_t { kFree, kWaiting, kQueued, kSent };
  ObjectId task;        // first return id
  uint64_t record = 0;  // offset
  uint64_t seq = 0;
  uint64_t peer =
      0;  // endpoint | serial << 32 that has it (kSent), or that shall have it (kActorCreate)
  uint32_t number = kNoNumber;  // task class, or actor number
  uint32_t waiting = 0;         // top-level arguments that are not sealed yet
  int32_t retries_left = 0;     // -1 for ever, -2 the actor's default (not known yet)
  uint32_t attempt = 0;
  uint32_t items_received = 0;  // streams
  CallKind kind = CallKind::kTask;
  State state = State::kFree;
  uint64_t alarm_ms = 0;  // its entry in the alarms, 0 none
  bool cancelled = false;
  bool timed_out = false;  // it ran at its deadline
  bool streaming = false;
  bool holds_actor = false;  // a reference to the lifetime object: calls under way keep their actor
  uint32_t generation = 0;   // tells a reused slot from the call that waited
};

// A process that we exchange calls with. Each direction has its own pair of rings, owned by the caller of that direction.
struct Peer {
  uint64_t key = 0;  // endpoint | serial << 32
  os::Fd bell;
  std::unique_ptr<RingProducer> calls;             // our calls to it
  std::unique_ptr<RingProducer> replies;           // our replies to its calls
  uint64_t own_call_ring = 0, own_reply_ring = 0;  // in our chunks
  uint64_t their_call_ring = 0;                    // in its chunks
  bool calls_dirty = false;
  bool replies_dirty = false;
  bool gone = false;
  uint32_t endpoint() const { return static_cast<uint32_t>(key); }
  uint32_t serial() const { return static_cast<uint32_t>(key >> 32); }
};

class ClientCore final : public Client, private TaskPort, private ActorPort {
 public:
  ClientCore(const WelcomeBody& welcome, std::unique_ptr<Segment> segment, os::Fd socket,
             os::Fd own_bell, os::Fd raylet_bell);
  ~ClientCore() override;

  uint32_t endpoint() const override { return endpoint_; }
  uint32_t serial() const override { return serial_; }
  uint32_t node_tag() const override { return node_tag_; }
  uint32_t job() const override { return job_; }
  uint64_t devices() const override;
  int doorbell_fd() const override { return own_bell_.get(); }
  int socket_fd() const override { return socket_.get(); }
  bool is_detached() const override { return detached_.load(std::memory_order_acquire); }
  Segment& segment() override { return *segment_; }

  Result<ObjectId> put(std::span<const uint8_t> envelope, std::span<const ObjectId> refs,
                       uint32_t entry_flags, uint32_t wait_ms) override;
  Result<PutBuffer> put_begin(uint64_t size, uint32_t wait_ms) override;
  Status put_seal(PutBuffer& buffer, std::span<const ObjectId> refs, uint32_t entry_flags) override;
  void put_abort(PutBuffer& buffer) override;
  ObjectStatus status(const ObjectId& id) override;
  Result<ObjectView> pin(const ObjectId& id) override;
  void unpin(const ObjectId& id) override;
  bool add_ref(const ObjectId& id) override;
  void release_ref(const ObjectId& id) override;
  ObjectStatus subscribe(const ObjectId& id) override;
  uint64_t object_size(const ObjectId& id) override;
  ObjectInfo info(const ObjectId& id) override;
  Result<SpilledFile> open_spilled(const ObjectId& id) override;
  bool free_object(const ObjectId& id) override;
  Result<ObjectId> create_actor_object() override;

  uint32_t register_spec(SpecInfo info) override;
  Status submit_task(uint32_t spec_number, const CallArguments& arguments,
                     ObjectId* returns) override;
  Status submit_actor_call(const ObjectId& actor, const CallArguments& arguments,
                           ObjectId* returns) override;
  void set_actor_state(const ObjectId& actor, ActorPhase phase, uint64_t peer, uint32_t incarnation,
                       int32_t max_task_retries, std::span<const uint8_t> error) override;
  ActorPhase actor_phase(const ObjectId& actor) override;
  size_t actor_pending_calls(const ObjectId& actor) override;
  bool cancel(const ObjectId& task, bool force, bool recursive,
              std::span<const uint8_t> error) override;
  bool is_actor_call(const ObjectId& task) override;
  uint64_t call_peer(const ObjectId& task) override;
  void stream_consumed(const ObjectId& task, uint32_t items) override;

  uint32_t service_request(std::span<const uint8_t> payload) override;
  void service_reply(uint64_t peer, uint32_t request, std::span<const uint8_t> payload) override;
  void service_push(uint64_t peer, uint32_t topic, std::span<const uint8_t> payload) override;
  uint32_t request_dedicated(const SpecInfo& info) override;
  void return_lease(uint32_t lease) override;
  Status submit_actor_create(uint64_t peer, const ObjectId& actor, uint32_t incarnation,
                             uint32_t spec_number, const CallArguments& arguments,
                             ObjectId* returns) override;
  void raylet_command(RayletOp op, uint64_t b, uint64_t c, uint64_t d,
                      std::span<const uint8_t> payload) override;

  void worker_ready() override;
  void worker_exit() override;
  Result<PutBuffer> return_begin(uint64_t handle, uint32_t index, uint64_t size,
                                 uint32_t wait_ms) override;
  Status return_seal(uint64_t handle, uint32_t index, PutBuffer& buffer,
                     std::span<const ObjectId> refs, bool is_error) override;
  Status return_small(uint64_t handle, uint32_t index, std::span<const uint8_t> envelope,
                      std::span<const ObjectId> refs, bool is_error, uint32_t wait_ms) override;
  void reply(uint64_t handle, ReplyStatus status) override;
  Status stream_item(uint64_t handle, uint32_t number, const ObjectId& item) override;
  void set_blocked(bool blocked) override;
  void set_actor_identity(const ObjectId& actor, uint32_t incarnation) override;

  size_t poll(std::vector<Event>& events, size_t limit) override;
  void flush() override;
  bool watch() override;
  bool has_work() const override;
  bool arm(uint32_t bits) override;
  void wait_doorbell(int timeout_ms) override;
  void socket_readable() override { next_raylet_check_ns_ = 0; }
  void gc_done() override;
  std::vector<uint8_t> observe(uint32_t what) override;
  void detach() override;
  Counters counters() const override;

  // The at-fork handler of a child: no control memory, no locks.
  void detach_in_child();

 private:
  // --- attach.cc
  void close_session();
  bool raylet_lives() const;

  // --- memory.cc: bytes in the data region
  struct Memory {
    uint64_t offset = 0;
    uint64_t capacity = 0;
    uint8_t* data = nullptr;
    bool new_pages = false;  // an extent whose pages nobody has touched yet
  };
  Result<Memory> allocate_bytes(uint64_t size, uint32_t wait_ms);
  Result<Memory> take_extent(uint64_t size, uint32_t wait_ms);
  Result<Memory> take_slab_slot(uint64_t size, uint32_t wait_ms);
  void give_back_slabs();
  void free_bytes(uint64_t offset, uint64_t capacity);
  Result<Memory> request_extent(uint64_t bytes, uint64_t alignment, uint32_t wait_ms);
  void populate(const Memory& extent);
  uint64_t capacity_of(uint64_t offset, uint64_t size) const;

  // --- objects.cc
  struct NewEntry {
    ObjectId id;
    ObjectEntry* entry;
  };
  Result<NewEntry> new_entry(uint32_t flags);
  // Writes place and size, counts nested references, publishes. The caller owns the right to seal.
  Status seal_entry(ObjectEntry& entry, const ObjectId& id, uint64_t offset, uint64_t capacity,
                    uint64_t size, std::span<const ObjectId> refs, uint32_t flags);
  void give_up_entry(const ObjectId& id);
  void drop_ref(const ObjectId& id);
  void send_release(const ObjectId& id);
  // Seals a pending object of somebody else's call with bytes of ours; false: sealed before.
  bool seal_foreign(const ObjectId& id, std::span<const uint8_t> envelope, uint32_t flags,
                    uint32_t dead_sealer);
  ObjectStatus watch(const ObjectId& id, bool user, CallSlot waiter);
  void object_ready(const ObjectId& id, bool gone);

  // --- spilled.cc
  Result<ObjectView> pin_spilled(const ObjectEntry& entry, const ObjectId& id);
  bool unpin_spilled(const ObjectId& id);
  Result<ObjectView> pin_closed(const ObjectEntry& entry, const ObjectId& id);

  // --- calls.cc
  Status read_stored_args(const ObjectId& stored, std::vector<ObjectId>& top);
  Status submit(CallKind kind, const ObjectId& spec, uint32_t number, const ObjectId& actor,
                int32_t retries, uint64_t peer, uint32_t incarnation,
                const CallArguments& arguments, ObjectId* returns);
  Result<uint64_t> write_record(CallKind kind, const ObjectId& spec, const ObjectId& actor,
                                const CallArguments& arguments, std::span<const ObjectId> returns);
  CallSlot take_call_slot();
  void start_waiting(CallSlot call, std::span<const ObjectId> top_refs);
  void arguments_ready(CallSlot call);
  void fail_dependents(CallSlot call, const ObjectId& argument);
  PendingCall* pending_of(const ObjectId& id, CallSlot* slot);
  bool push_call(CallSlot call, uint64_t peer, uint32_t lease);
  void on_reply(const RingSlot& slot, uint64_t peer);
  void take_out(CallSlot call);  // out of its queue, when it is in one
  bool detach_record(
      CallSlot
          call);  // retract: the record stays behind as a zombie until its reply; the call gets a copy
  CallRecord& record_of(const PendingCall& call) { return segment_->record(call.record); }
  std::span<const ObjectId> returns_of(const PendingCall& call);
  ActorQueue& actor_queue(const ObjectId& actor, uint32_t* number);

  // --- observe.cc
  TaskEvent* event_slot();
  TaskEvent* new_event(const CallRecord& record, const ObjectId& task, uint64_t start_ns);
  void end_event(TaskEvent*& event, uint64_t now_ns, ReplyStatus status);
  void observe_tasks(std::vector<uint8_t>& rows);
  bool waits_for_arguments(const CallRecord& record);
  void observe_waiting(uint32_t owner, uint64_t offset, std::vector<uint8_t>& rows);
  void observe_event(uint32_t owner, uint64_t offset, std::vector<uint8_t>& rows,
                     const std::function<uint64_t(uint64_t)>& to_wall);
  void observe_objects(std::vector<uint8_t>& rows);
  void observe_endpoints(std::vector<uint8_t>& rows);
  void observe_holders(std::vector<uint8_t>& rows);
  void observe_runs(std::vector<uint8_t>& rows);
  void observe_run(uint32_t owner, uint64_t offset, std::vector<uint8_t>& rows);

  // --- deadlines.cc
  void set_alarm(CallSlot call, uint64_t at_ms);
  void clear_alarm(CallSlot call);
  void ask_alarm();
  void on_alarm();
  void time_up(CallSlot call);
  void give_up(CallSlot call);
  void settle_timed_out(CallSlot call);
  void tell_cancelled(const PendingCall& call, uint32_t how, ControlOp op, ObjectId why = {});

  // --- settle.cc
  void settle(CallSlot call, std::span<const uint8_t> envelope);
  void settle_with(CallSlot call, StatusCode code, const std::string& message);
  void complete(CallSlot call);
  bool all_sealed(const PendingCall& call);
  // What kPeerGone says of a process that the node ended for lack of memory; `text` is empty for any other.
  struct MemoryEnd {
    std::string text;
    bool again = false;  // its tasks may run again
  };
  MemoryEnd memory_end(uint64_t word);
  void task_lost(CallSlot call, uint32_t dead_endpoint, const std::string& how,
                 const MemoryEnd& memory);
  void class_request_failed(uint32_t class_number, std::span<const uint8_t> json);
  void run_ready();

  // TaskPort
  bool task_send(CallSlot call, uint64_t peer, uint32_t lease) override;
  bool task_retract(CallSlot call) override;
  bool lease_activate(uint32_t lease) override;
  bool lease_idle(uint32_t lease) override;
  LeaseYield lease_yields(uint32_t lease) override;
  void lease_return(uint32_t lease) override;
  void lease_backlog(uint32_t class_number, uint32_t workers_wanted, int32_t priority) override;
  uint64_t now_ns() override { return os::now_ns(); }
  // ActorPort
  bool actor_ready(CallSlot call) override { return calls_[call].waiting == 0; }
  bool actor_send(CallSlot call, uint64_t peer, uint32_t incarnation) override;
  Fate actor_fate(CallSlot call) override;
  bool actor_take_retry(CallSlot call, int32_t default_retries) override;
  void actor_finish(CallSlot call) override { complete(call); }
  void actor_fail(CallSlot call, ActorFailure failure) override;
  uint64_t actor_seq(CallSlot call) override { return calls_[call].seq; }

  // --- peers.cc
  Peer* peer_for_calls(uint64_t key);
  Peer* find_peer(uint64_t key);
  Peer* peer_of_ring(uint64_t ring_offset);
  Result<os::Fd> fetch_doorbell(uint64_t key);
  void peer_gone_received(const RingSlot& slot);
  void peer_gone(const RingSlot& slot);
  Result<Peer*> add_peer(uint64_t key);
  void mark_ring_ready(uint64_t ring_offset);
  void drop_rings(Peer& peer);
  void on_starved(uint64_t ring_offset);
  void mark_dirty(Peer& peer, bool reply);

  // --- executor.cc
  struct Running {
    IncomingCall call;
    uint64_t record = 0;
    uint64_t peer = 0;
    uint64_t started_ns = 0;
    TaskEvent* event = nullptr;
    uint32_t generation = 0;
    bool used = false;
    bool args_pinned = false;
    ObjectId args;
    std::vector<ObjectId> returns;
    std::vector<ObjectId> refs;
    std::vector<ObjectId> items;  // stream items that the caller may not hold yet
    uint32_t items_first = 0;     // number of items[0]
  };
  struct Incoming {
    uint64_t record;
    uint64_t peer;
    uint64_t seq;
  };
  struct Stream {
    uint64_t peer;
    std::vector<ObjectId> items;
    uint32_t first;
  };
  void incoming_call(uint64_t peer, const RingSlot& slot);
  bool valid_record(uint64_t offset, uint32_t caller) const;
  bool deliver(const Incoming& incoming);
  void deliver_calls(size_t limit);
  bool can_deliver() const;
  void hand_back(const Incoming& incoming);
  void hand_back_all();
  void send_reply(uint64_t peer, uint64_t record, uint64_t seq, ReplyStatus status);
  Running* running(uint64_t handle);
  void release_running(Running& run);
  void on_cancel(const RingSlot& slot);
  ObjectId cancel_reason(const ObjectId& task, std::span<const uint8_t> error);
  void on_stream_item(uint64_t peer, const RingSlot& slot);
  void on_stream_credit(const RingSlot& slot);
  void release_items(Stream& stream, uint32_t received);
  void let_item_go(uint64_t peer, const RingSlot& slot);
  void send_stream_credit(Peer& producer, const ObjectId& task, uint32_t consumed,
                          uint32_t received);

  // --- service.cc
  void to_raylet(const RingSlot& slot, bool bell);
  void bell_raylet();  // at once
  Result<uint64_t> copy_payload(std::span<const uint8_t> payload);
  bool send_payload(Rec kind, uint32_t a, uint64_t d, std::span<const uint8_t> payload);
  std::vector<uint8_t> take_payload(uint64_t offset, uint64_t bytes);
  std::optional<std::vector<uint8_t>> whole_payload(const RingSlot& slot);
  uint64_t write_lease_spec(const SpecInfo& info, uint64_t* bytes);

  // --- poll.cc
  struct Inbox {
    uint64_t ring;
    RingSlot slot;
  };
  void drain();
  void handle(const Inbox& item);
  void handle_raylet(const RingSlot& slot);
  Event& emit(EventKind kind);
  void flush_overflow();
  void check_raylet();
  void self_wake();
  void give_back_doorbell(bool took, bool woken);
  uint32_t armed_bits_ = 0;  // what the binding armed last

  void count(Count which, uint64_t n = 1) { counts_->add(which, n); }

  // Fixed after construction.
  std::unique_ptr<Segment> segment_;
  os::Fd socket_, own_bell_, raylet_bell_;
  uint32_t endpoint_, serial_, node_tag_, job_;
  EndpointKind kind_;
  std::atomic<bool> detached_{false};

  // Memory and objects.
  SlotPool entries_, records_, rings_, events_;
  std::deque<TaskEvent*> event_slots_;  // the oldest first
  SlabPool slabs_;
  ReferenceRow row_;
  uint64_t next_unique_ = 0;
  size_t pins_ = 0;
  struct FileMap {
    os::PrivateMap map;
    uint32_t pins;
  };
  std::unordered_map<uint64_t, FileMap> file_maps_;  // spilled objects read here, by unique
  std::vector<uint32_t> free_peers_;
  uint64_t pages_given_back_ = 0;  // the header's, when populated_ was right
  std::vector<bool> populated_;    // 64 KiB blocks of the data region whose pages this process has
  std::vector<std::unique_ptr<uint8_t[]>> scratch_;  // inline bytes of returns being written
  std::vector<uint8_t*> free_scratch_;
  // Who waits for an object: the binding, calls.
  struct Watch {
    bool user;
    bool at_raylet;
    uint32_t waiters;
    ObjectId id;
  };
  struct Waiter {
    CallSlot call;
    uint32_t generation;
    uint32_t next;
  };
  FlatMap<Watch> watches_;  // by unique
  std::vector<Waiter> waiters_;
  std::vector<uint32_t> free_waiters_;
  struct ReadyObject {
    ObjectId id;
    bool gone;
  };
  std::vector<ReadyObject> ready_;
  bool running_ready_ = false;

  // Calls of ours.
  std::vector<PendingCall> calls_;
  std::vector<CallSlot> free_calls_;
  CallLinks links_;
  TaskQueue tasks_;
  std::vector<SpecInfo> specs_;
  std::vector<uint32_t> spec_class_;
  struct ClassRequest {
    uint32_t spec = 0;
    uint32_t request = 0;
  };
  std::vector<ClassRequest> class_requests_;  // by class number
  FlatMap<uint32_t> request_class_;  // request number -> class number + 1; dedicated: kNoNumber
  struct Actor {
    std::unique_ptr<ActorQueue> queue;
    ObjectId id;
    std::vector<uint8_t> error;
  };
  std::vector<Actor> actors_;
  FlatMap<uint32_t> actor_by_unique_;
  FlatMap<uint64_t> zombies_;  // retracted records whose reply has not come -> peer key
  std::unordered_map<uint64_t, std::vector<uint8_t>>
      cancel_errors_;  // running calls that were cancelled, by task unique
  std::unordered_map<uint64_t, ObjectId> cancel_reasons_;  // the same errors as objects
  std::set<std::pair<uint64_t, CallSlot>> alarms_;         // deadlines of open calls
  uint64_t alarm_asked_ms_ = 0;  // what the raylet was asked for, 0 nothing
  uint64_t next_seq_ = 0;
  uint32_t next_request_ = 0;

  // Peers.
  RingProducer raylet_;
  bool raylet_bell_due_ = false;
  InboundRings inbound_;
  uint64_t raylet_belled_ns_ = 0;
  uint32_t raylet_pushes_ = 0;
  bool raylet_waiting_ = false;  // records pushed without a bell
  std::map<std::tuple<uint32_t, uint32_t, uint64_t>, std::vector<uint8_t>>
      pieces_;  // payloads that have not come whole, by kind, a, d
  std::vector<std::unique_ptr<Peer>> peers_;
  FlatMap<uint32_t> peer_by_key_;
  FlatMap<uint32_t> peer_by_ring_;
  std::vector<Peer*> dirty_peers_;
  std::vector<Inbox> inbox_;
  size_t inbox_at_ = 0;
  uint64_t last_ring_ = 0;
  uint64_t last_ring_peer_ = 0;

  // Calls that run here.
  std::deque<Incoming> incoming_;
  std::vector<std::unique_ptr<Running>> running_;
  std::vector<uint32_t> free_running_;
  FlatMap<uint64_t> running_by_task_;  // first return's unique -> handle
  std::unordered_map<uint64_t, Stream>
      streams_;  // finished or running streams with items the caller may not hold yet
  ObjectId actor_;
  uint32_t incarnation_ = 0;
  uint32_t running_tasks_ = 0;
  bool blocked_ = false;
  bool leaving_ = false;

  // Polling.
  std::vector<Event>* sink_ = nullptr;
  size_t sink_limit_ = 0;
  std::vector<Event> early_;
  size_t early_at_ = 0;
  bool shutdown_told_ = false;
  bool raylet_gone_ = false;
  bool forked_ = false;       // this is a child's copy
  EndpointCounters* counts_;  // in shared memory; once detached: late_counts_
  EndpointCounters late_counts_{};
  uint64_t next_raylet_check_ns_ = 0;
  BriefWatch brief_watch_{os::processors()};
};

inline uint64_t id_word(const ObjectId& id) {
  return id.node_tag | uint64_t{id.index} << 32;
}
inline ObjectId id_from(uint64_t b, uint64_t c) {
  return {static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32), c};
}
inline EntryState entry_state(uint32_t state) {
  return static_cast<EntryState>(state & kEntryStateMask);
}
std::span<const ObjectId> record_returns(const CallRecord& record);
std::span<const ObjectId> record_refs(const CallRecord& record);
Status freed_error();  // of an object that a user freed
inline const uint8_t* record_payload(const CallRecord& record) {
  return reinterpret_cast<const uint8_t*>(&record + 1) +
         (uint64_t{record.return_count} + record.ref_count) * sizeof(ObjectId);
}
inline uint64_t padded_method(uint32_t bytes) {
  return (uint64_t{bytes} + 7) & ~uint64_t{7};
}

}  // namespace polyray
