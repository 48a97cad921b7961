// SPDX-License-Identifier: Apache-2.0
// One endpoint of the runtime: everything a driver, worker or service does with objects, calls and leases, below the
// language. Both bindings (node_api, CPython) are thin over this class; policy that both languages share lives here:
// waiting for arguments, leasing workers per scheduling class, pipelining, retracting, retrying, ordering actor calls.
//
// Owns: the session socket, the endpoint's pools (entries, records, rings, slabs), its reference row, its leases.
// Thread rules: one thread at a time (bindings lock); only wait_doorbell() may be called while another thread is inside.
// Invariants:
//  1. Nothing here blocks except put_begin (bounded by wait_ms), attach, first contact with a peer (doorbell fd over the
//     socket) and wait_doorbell.
//  2. poll() never runs user code: it fills events.
//  3. Every return id of a submitted call is settled exactly once: sealed by the worker, or by this client with an error.
//  4. Calls of one client to one actor reach it in submission order.
//  5. After fork the child's copy is `detached`: every method fails with kDetached; the binding attaches anew.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/layout.h"
#include "wire/messages.h"

namespace polyray {

class Segment;

// How long values wait for memory unless their process waits in parts, to look after its own garbage in between.
inline constexpr uint32_t kPutWaitMs = 10'000;
inline constexpr uint32_t kReturnWaitMs = 30'000;

struct AttachOptions {
  std::string socket_name;  // abstract name without the leading NUL
  std::string token;        // session token
  EndpointKind kind = EndpointKind::kDriver;
  uint32_t language = 1;       // 1 ts, 2 py
  uint64_t startup_token = 0;  // workers
  uint32_t job =
      0;  // 0: a new job (drivers); an existing one for worker_threads and forked children
  std::string package_version;
  bool send_stdio = false;  // pass fds 1 and 2: the node writes this job's worker logs there
};

// Bytes being written for one object. data == nullptr after seal or abort.
struct PutBuffer {
  ObjectId id;
  uint8_t* data = nullptr;  // writable, 64-byte aligned, size bytes
  uint64_t size = 0;
  uint64_t offset = 0;  // 0: inline (data is then a scratch of at most kInlineBytes)
};

enum class ObjectStatus : uint32_t {
  kPending = 0,
  kSealed = 1,
  kError = 2,
  kGone = 3,
  kSpilled = 4  // not used: spilled objects are kSealed or kError (see ObjectInfo)
};

// Sealed bytes in place. The pin lasts until unpin(id).
struct ObjectView {
  const uint8_t* data = nullptr;  // read-only mapping (or the entry's inline bytes)
  uint64_t size = 0;
  uint64_t offset = 0;  // data offset for a copy-on-write map; 0 when inline
  bool is_error = false;
  bool pinned = false;  // false for inline bytes: valid only until the reference is dropped
  bool spilled =
      false;  // the bytes are a map of a file: offset is 0, open_spilled(id) gives the file
};

// What is known of an object without reading it.
struct ObjectInfo {
  ObjectStatus status = ObjectStatus::kGone;
  uint64_t size = 0;      // envelope bytes; 0 while it is pending
  bool in_store = false;  // has bytes of its own in the data region, or had before it was spilled
  bool spilled = false;
  bool freed = false;
  uint32_t refs = 0;  // endpoints and containers that hold it
  uint32_t pins = 0;  // endpoints that have its bytes in place
};

// The file that holds a spilled object's bytes.
struct SpilledFile {
  int fd = -1;  // the caller closes it
  uint64_t offset = 0;
};

// What to run: a sealed TaskSpec object plus what the scheduler needs to know of it.
struct SpecInfo {
  ObjectId spec;
  LeaseSpec lease{};  // class_hash, language, flags...
  std::vector<ResourceItem> resources;
  std::string worker_key;  // JSON for the node service: environment hash, loader, folder
  int32_t max_retries = 3;
};

struct CallArguments {
  std::string_view method;            // actor calls; empty otherwise
  std::span<const uint8_t> envelope;  // encoded args (put in the store when above 32 KiB)
  std::span<const ObjectId>
      refs;  // all ids inside; the first top_refs are top-level arguments to wait for
  uint32_t top_refs = 0;
  // Instead of `envelope`, `refs` and `top_refs`: the args were put as this object (big ones, written straight into the
  // store). The call takes a reference of its own.
  ObjectId stored;
  uint32_t return_count = 1;  // 1..1000
  uint16_t flags = 0;         // kCallStreaming, kCallRetryExceptions, kCallLanguageBits
  int32_t max_retries = -2;   // -2: the spec's
  int32_t priority = 0;       // set by submit_task: that of the spec
  uint64_t deadline_ms = 0;   // os::now_ms(); then it is settled with kTaskTimeout; 0 never
};

// A call to run in this process. Stays valid until reply().
struct IncomingCall {
  uint64_t handle = 0;
  CallKind kind = CallKind::kTask;
  uint16_t flags = 0;
  uint32_t caller = 0;  // endpoint
  ObjectId spec;
  ObjectId task;  // = first return id
  ObjectId actor;
  uint32_t incarnation = 0;
  uint32_t attempt = 0;
  int32_t retries_left = 0;
  uint64_t seq = 0;
  uint64_t deadline_ms = 0;  // os::now_ms(), 0 none: what it submits should end by then, too
  std::string_view method;
  std::span<const uint8_t> envelope;  // args envelope, in shared memory, valid until reply()
  ObjectId
      args;  // the object that the args envelope is (nil: it lies in the call's record); pin it to keep views longer
  std::span<const ObjectId> returns;  // valid until reply()
  std::span<const ObjectId>
      refs;               // valid until reply(); this endpoint holds a reference to each until then
  uint32_t top_refs = 0;  // all sealed already
};

enum class EventKind : uint32_t {
  kObjectReady = 1,  // id: subscribed or own return, now sealed (status = kSealed | kError)
  kObjectGone = 2,   // id: freed or lost; a waiter must fail
  kCall = 3,         // call: run it and reply()
  kCancel =
      4,  // id = task id, a = kCancelForce | ..., payload = the caller's error: it cancelled a call that runs here
  kStreamItem = 5,     // id = task id, a = item number, id2 = item's object
  kStreamEnd = 6,      // id = task id: the stream's first return (completed) is sealed too
  kServiceAnswer = 7,  // a = request, payload
  kServiceCall = 8,    // service only: a = request, peer, payload
  kPush = 9,           // a = topic, payload
  kRayletEvent = 10,   // service only: payload JSON
  kActorGone = 11,     // service only: id of the actor's lifetime object: no handle is left
  kPeerGone = 12,      // peer (endpoint | serial << 32), a = exit code, b = signal
  kLeaseGranted =
      13,  // for request_dedicated(): a = request, peer = worker endpoint | serial << 32, b = lease
  kLeaseFailed =
      14,  // a = request, payload = {code,message} (for task leases the client settles the calls itself)
  kGcRequest = 15,     // memory is short: drop what can be dropped, then gc_done()
  kShutdown = 16,      // the runtime ends (or its raylet died)
  kStreamCredit = 17,  // id = task id, a = items consumed: the producer may go on
};

struct Event {
  EventKind kind{};
  uint32_t a = 0;
  uint64_t b = 0;
  uint64_t peer = 0;
  ObjectId id;
  ObjectId id2;
  ObjectStatus status = ObjectStatus::kPending;
  IncomingCall call;
  std::vector<uint8_t> payload;
};

enum class ActorPhase : uint32_t {
  kUnknown = 0,
  kPending = 1,
  kAlive = 2,
  kRestarting = 3,
  kDead = 4
};

class Client {
 public:
  static Result<std::unique_ptr<Client>> attach(const AttachOptions& options);
  virtual ~Client() = default;

  // --- identity
  virtual uint32_t endpoint() const = 0;
  virtual uint32_t serial() const = 0;
  virtual uint32_t node_tag() const = 0;
  virtual uint32_t job() const = 0;
  virtual uint64_t devices() const = 0;  // workers: the GPUs of this worker's lease, a bit each
  virtual int doorbell_fd() const = 0;   // eventfd; readable when rung (read it empty, then poll)
  virtual int socket_fd()
      const = 0;  // session socket: readable means that the raylet is gone (poll then reports kShutdown)
  virtual bool is_detached() const = 0;  // forked child, or the raylet is gone
  virtual Segment& segment() = 0;

  // --- objects
  // A put of small bytes: one copy, no message. refs: ids inside, counted by the new container.
  virtual Result<ObjectId> put(std::span<const uint8_t> envelope, std::span<const ObjectId> refs,
                               uint32_t entry_flags = 0, uint32_t wait_ms = kPutWaitMs) = 0;
  // Room for `size` bytes; waits at most wait_ms for memory. Errors: kObjectStoreFull (with who holds what), kOutOfMemory.
  virtual Result<PutBuffer> put_begin(uint64_t size, uint32_t wait_ms) = 0;
  virtual Status put_seal(PutBuffer& buffer, std::span<const ObjectId> refs,
                          uint32_t entry_flags = 0) = 0;
  virtual void put_abort(PutBuffer& buffer) = 0;
  virtual ObjectStatus status(const ObjectId& id) = 0;
  virtual Result<ObjectView> pin(const ObjectId& id) = 0;
  virtual void unpin(const ObjectId& id) = 0;
  virtual bool add_ref(const ObjectId& id) = 0;  // false: the object is gone
  virtual void release_ref(const ObjectId& id) = 0;
  // kSealed/kError/kGone at once, or kPending: an event kObjectReady/kObjectGone will come (once).
  virtual ObjectStatus subscribe(const ObjectId& id) = 0;
  virtual uint64_t object_size(const ObjectId& id) = 0;
  virtual ObjectInfo info(const ObjectId& id) = 0;
  // For a map of one's own of a spilled object (pin() maps it for reading). REQUIRES: a reference or pin is held.
  virtual Result<SpilledFile> open_spilled(const ObjectId& id) = 0;
  // Takes the value away from everybody: later readers get kObjectFreed; bytes that are pinned stay until the last unpin.
  // False: it is not sealed (nothing is done).
  virtual bool free_object(const ObjectId& id) = 0;
  // An actor's lifetime object: pending for ever, its references are the actor's handles.
  virtual Result<ObjectId> create_actor_object() = 0;

  // --- submitting
  // Registers a spec once; returns a small number used by submit. Same class_hash = same scheduling class.
  virtual uint32_t register_spec(SpecInfo info) = 0;
  // Return ids go to `returns` (size return_count); each is held by one local reference for the caller of this method.
  virtual Status submit_task(uint32_t spec_number, const CallArguments& arguments,
                             ObjectId* returns) = 0;
  virtual Status submit_actor_call(const ObjectId& actor, const CallArguments& arguments,
                                   ObjectId* returns) = 0;
  // What the control service says about an actor. peer = endpoint | serial << 32. `error` = envelope for failed calls.
  virtual void set_actor_state(const ObjectId& actor, ActorPhase phase, uint64_t peer,
                               uint32_t incarnation, int32_t max_task_retries,
                               std::span<const uint8_t> error) = 0;
  virtual ActorPhase actor_phase(
      const ObjectId& actor) = 0;  // kUnknown: nobody called set_actor_state yet
  virtual size_t actor_pending_calls(const ObjectId& actor) = 0;
  // True when it was still queued (then it is settled with `error`); false: running, a kCancel went to the worker.
  // `recursive`: the process that runs it shall cancel what the call submitted, too (the event says so).
  virtual bool cancel(const ObjectId& task, bool force, bool recursive,
                      std::span<const uint8_t> error) = 0;
  // True while the id is the first return of an actor call of this client that is not over.
  virtual bool is_actor_call(const ObjectId& task) = 0;
  // Where a call of this client is now: endpoint | serial << 32 of the process that has it, 0 when it is not sent (or over).
  virtual uint64_t call_peer(const ObjectId& task) = 0;
  // items = how many were taken so far in all; the producer gets kStreamCredit.
  virtual void stream_consumed(const ObjectId& task, uint32_t items) = 0;

  // --- control service (node service): requests and answers are opaque bytes (MessagePack by convention)
  virtual uint32_t service_request(std::span<const uint8_t> payload) = 0;  // answer: kServiceAnswer
  virtual void service_reply(uint64_t peer, uint32_t request, std::span<const uint8_t> payload) = 0;
  virtual void service_push(uint64_t peer, uint32_t topic,
                            std::span<const uint8_t> payload) = 0;  // peer ~0: all
  virtual uint32_t request_dedicated(const SpecInfo& info) = 0;     // kLeaseGranted / kLeaseFailed
  virtual void return_lease(uint32_t lease) = 0;
  // Service: runs an actor's constructor on a dedicated worker; the reply is an ordinary kObjectReady of the return.
  virtual Status submit_actor_create(uint64_t peer, const ObjectId& actor, uint32_t incarnation,
                                     uint32_t spec_number, const CallArguments& arguments,
                                     ObjectId* returns) = 0;

  virtual void raylet_command(RayletOp op, uint64_t b, uint64_t c, uint64_t d,
                              std::span<const uint8_t> payload) = 0;

  // --- executing (workers)
  virtual void worker_ready() = 0;
  virtual void worker_exit() = 0;  // no more leases; unclaimed calls go back
  // Writes the result of return `index`. First seal wins; false when somebody sealed before.
  virtual Result<PutBuffer> return_begin(uint64_t handle, uint32_t index, uint64_t size,
                                         uint32_t wait_ms = kReturnWaitMs) = 0;
  virtual Status return_seal(uint64_t handle, uint32_t index, PutBuffer& buffer,
                             std::span<const ObjectId> refs, bool is_error) = 0;
  virtual Status return_small(uint64_t handle, uint32_t index, std::span<const uint8_t> envelope,
                              std::span<const ObjectId> refs, bool is_error,
                              uint32_t wait_ms = kReturnWaitMs) = 0;
  virtual void reply(uint64_t handle, ReplyStatus status) = 0;
  virtual Status stream_item(uint64_t handle, uint32_t number, const ObjectId& item) = 0;
  // The running task waits for objects (true) or goes on (false): its resources, unclaimed calls of this worker go back.
  virtual void set_blocked(bool blocked) = 0;
  // Actors: refuse calls of other incarnations.
  virtual void set_actor_identity(const ObjectId& actor, uint32_t incarnation) = 0;

  // --- running
  // Drains rings, moves state on, appends at most `limit` events. Returns how many.
  virtual size_t poll(std::vector<Event>& events, size_t limit) = 0;
  // Sends bells of what was pushed since the last poll or flush. Bindings call it once per turn (or at once for a lone call).
  virtual void flush() = 0;
  // Before arm, when nothing was there: looks for records for some microseconds if that is likely to be cheaper than to
  // sleep (client/brief_watch.h). True: poll again. No lock needed, but no other thread polls meanwhile.
  virtual bool watch() = 0;
  // The next poll has something to do that no bell tells: a thread that leaves another asleep must wake it for that.
  virtual bool has_work() const = 0;
  // Arms the wake word. True: sleep now; false: poll again.
  virtual bool arm(uint32_t bits) = 0;
  // Sleeps until rung, interrupted by a signal, or timeout_ms (-1: some while); callers loop. No lock needed.
  virtual void wait_doorbell(int timeout_ms) = 0;
  // The socket became readable, which an event loop tells once: the next poll looks whether the raylet is gone, and does
  // not leave it at having looked lately.
  virtual void socket_readable() = 0;
  // Rows about what this node runs and holds (client/observe.cc has the layout); for the node service. Finished events
  // that were read are freed.
  virtual std::vector<uint8_t> observe(uint32_t what) = 0;
  virtual void gc_done() = 0;
  // Ends the endpoint in order: releases rows, returns leases, closes the socket.
  virtual void detach() = 0;

  struct Counters {
    uint64_t calls_submitted = 0, calls_executed = 0, bells_rung = 0, bells_saved = 0, puts = 0,
             put_bytes = 0, zero_copy_bytes = 0, retries = 0, retracted = 0;
  };
  virtual Counters counters() const = 0;
};

// Blocks on the control socket of a worker (its own thread): kill, interrupt, stack dump; returns when the raylet is gone.
// on_op runs on that thread. Used by both bindings' worker start-up.
Status run_control_thread(const AttachOptions& options, uint32_t endpoint,
                          void (*on_op)(ControlOp, void*), void* context);

}  // namespace polyray
