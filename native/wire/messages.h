// SPDX-License-Identifier: Apache-2.0
// Record kinds on the rings, and the frames on the session socket. Ordinals are never reused.
//
// A RingSlot is {kind, a, b, c, d}. An ObjectId travels as b = node_tag | index << 32, c = unique.
// "bell": the sender rings the receiver's doorbell after publishing. Without it the record waits for the next drain.
// Payloads larger than a slot lie in a record slot of the sender (offset, bytes); the receiver copies it and clears the
// slot's bit in its chunk (anybody may clear bits).
#pragma once
#include <cstdint>

namespace polyray {

enum class Rec : uint32_t {
  // caller <-> callee (peer rings)
  kCall =
      1,  // bell. b = offset of CallRecord. Answered by exactly one kReply, also when it was retracted
  kReply =
      2,  // bell (batched: one bell per drain). b = offset of CallRecord, a = ReplyStatus, c = seq, d = caller_serial
  kCancel =
      3,  // bell. a = kCancelForce | kCancelNotRecursive, b,c = error (object, or nil), d = task (unique)
  kStreamItem =
      4,  // bell. b = offset of CallRecord, a = item number, c = unique, d = node_tag | index << 32 of the item
  kRingSwitch =
      5,  // b = offset of the bigger ring that continues this one; last record of this ring
  kStreamCredit =
      6,  // bell. b,c = task id, a = items consumed so far, d = items received so far (the caller holds them)

  // client -> raylet
  kRelease = 32,    // no bell. b,c = id: its last reference (or last pin of a closed entry) went
  kSealed = 33,     // bell. b,c = id: sealed and had waiters
  kSubscribe = 34,  // bell. b,c = id
  kExtentRequest = 35,  // bell. a = request number, b = bytes, c = alignment, d = wait_ms
  kExtentReturn = 36,   // no bell. b = offset, c = bytes (unsealed put given up)
  kLeaseRequest =
      37,  // bell. a = request number, b = payload offset (LeaseSpec), c = bytes, d = backlog
  kLeaseBacklog =
      38,  // no bell unless it rises from 0. a = request number, b = priority of its first call (int32),
           // d = backlog; 0 cancels the request
  kLeaseReturn = 39,  // bell. a = lease number
  kBlocked = 40,      // bell. a = 1 the running task waits (give its resources back), 0 it goes on
  // Payloads of kService.. kServicePush, kServiceAnswer, kPush, kServiceCall that exceed a slot come in pieces, one record
  // each: c has the bit kMorePieces in all but the last.
  kService =
      41,  // bell. a = request number, b = payload offset, c = bytes: request to the node service
  kServiceReply =
      42,  // bell. (service only) a = request number, b = payload offset, c = bytes, d = to endpoint | serial << 32
  kServicePush =
      43,  // bell. (service only) a = topic, b = payload offset, c = bytes, d = to endpoint | serial << 32 (0xffffffff = all)
  kPeerGoneAck = 44,  // bell. a = endpoint, d = serial: this client uses none of its rings any more
  kWorkerReady = 45,  // bell. this worker has loaded and takes leases
  kWorkerExit = 46,   // bell. this worker wants to leave (maxCalls, recycle): no more leases
  kGcDone = 47,       // bell. answer to kGcRequest
  kRayletCommand = 48,  // bell. (service only) a = RayletOp, b, c, d as the op says
  kControlPeer =
      49,  // bell. a = ControlOp, d = endpoint | serial << 32: passed to its control thread (kKill: SIGKILL)
  kFreeObject = 50,  // bell. b,c = id: sealed and marked kEntryFreed: its bytes may go

  kAlarmRequest =
      51,  // bell. b = time (ms, CLOCK_MONOTONIC): kAlarm then; instead of an earlier request
  kLeaseActive = 52,  // bell. an idle lease is in use again, and lease_watch of the header is set

  // raylet -> client
  kObjectReady = 64,  // bell. b,c = id: sealed
  kObjectGone = 65,   // bell. b,c = id: freed or lost while subscribed
  kExtentGrant =
      66,  // bell. a = request number, b = offset (0 = refused), c = bytes or StatusCode (kWouldBlock: slots in the
  // client's own granules came free: it looks there, gives empty granules back and asks again),
  // d = when refused: offset of a record slot with a NUL-terminated text (0 none); when granted: 1 if pages are new
  kLeaseGrant =
      67,  // bell. a = request number, b = worker endpoint | serial << 32, c = lease number
  kLeaseFailed =
      68,  // bell. a = request number, b = payload offset, c = bytes: error text (UTF-8 JSON {code,message})
  kServiceAnswer = 69,  // bell. a = request number, b = payload offset, c = bytes
  kPush = 70,  // bell. a = topic, b = payload offset, c = bytes: published by the node service
  kPeerGone =
      71,  // bell. a = endpoint, d = serial, b = exit info (code | signal << 32), c = when the node ended it for
  // lack of memory: offset of a record slot with a NUL-terminated text, | 1 if its tasks may run again
  kServiceCall =
      72,  // (to the service) a = request number, b = payload offset, c = bytes, d = from endpoint | serial << 32
  kRayletEvent = 73,  // (to the service) b = payload offset, c = bytes: JSON, see raylet/raylet.h
  kGcRequest = 74,    // bell. memory is short: collect, release
  kActorGone = 75,    // (to the service) b,c = id of an actor lifetime object with no handle left
  kShutdown = 76,     // bell. the runtime ends
  kAlarm = 77,        // bell. the time of kAlarmRequest has come
};

inline constexpr uint64_t kMorePieces = uint64_t{1} << 63;
inline constexpr uint64_t kPieceBytes = 60 * 1024;

// How a call is cancelled (kCancel, and the event of the same name).
inline constexpr uint32_t kCancelForce = 1;         // end its process
inline constexpr uint32_t kCancelNotRecursive = 2;  // leave alone what the call submitted
inline constexpr uint32_t kCancelTimeout = 4;       // its deadline has passed

// What the node service tells the raylet.
enum class RayletOp : uint32_t {
  kWorkerFailed =
      1,  // b = startup token, c = payload offset, d = bytes: {code,message} JSON; fails the requests waiting for its class
  kWorkerStarted =
      2,  // b = startup token, c = pid (process group leader): known to the guardian from now on
  kKillEndpoint =
      3,  // b = endpoint | serial << 32, c = 1: SIGKILL at once, 0: SIGTERM, then SIGKILL after d ms
  kEndJob = 4,  // b = job: kill its workers, free its kept objects
  kWorkerExited =
      5,  // b = startup token, c = exit code (int32), d = signal: the parent has reaped it
  kWatchLeases =
      6,  // the event leases_active, once, as soon as a lease is in use; at once if one is
  kEndForMemory =
      7,  // b = endpoint | serial << 32, c = payload offset, d = bytes: "1" if its tasks may run again, else "0",
          // then the text of the error; SIGKILL to its group
  kGroupAdd =
      20,  // c = payload offset, d = bytes: GroupSpec; reserves its bundles as soon as they fit
  kGroupRemove =
      21,  // c = payload offset, d = bytes: GroupSpec without items; ends what runs in its bundles
  kPrestart =
      45,  // b = job | language << 32, c = payload offset, d = bytes: the worker key; starts a worker if the pool has none.
  // From the driver in whose process the raylet runs: the driver itself starts the worker, the one of token 1
};

enum class ReplyStatus : uint32_t {
  kOk = 0,     // every return is sealed
  kError = 1,  // sealed as error
  kRetry = 2,  // application error that the spec retries: nothing sealed
  kReturned =
      3,  // not started (worker blocked, leaving, wrong incarnation): nothing sealed, send elsewhere
  kCancelled = 4,  // sealed as TaskCancelledError
};

// Session socket (SOCK_SEQPACKET, abstract name, same uid checked by SO_PEERCRED): one frame per packet, fixed header.
enum class Frame : uint32_t {
  kHello =
      1,  // client -> raylet: HelloBody (+ fds: optional stdout, stderr of a driver that wants logs)
  kWelcome =
      2,  // raylet -> client: WelcomeBody + fds {segment memfd, own doorbell eventfd, raylet doorbell eventfd}
  kRefused = 3,      // raylet -> client: a = StatusCode, text follows
  kGetDoorbell = 4,  // client -> raylet: a = endpoint, b = serial
  kDoorbell = 5,     // raylet -> client: a = endpoint (0xffffffff: gone), fd {eventfd}
  kControl = 6,      // raylet -> control socket of a worker: a = ControlOp
  kEndpoint =
      7,  // client -> raylet: one more endpoint for this process (worker_thread): as kHello on a new socket
};

struct FrameHeader {
  uint32_t magic;  // kFrameMagic
  uint16_t version;
  uint16_t kind;  // Frame
  uint32_t a;
  uint32_t size;  // body bytes after the header
  uint64_t b;
};
static_assert(sizeof(FrameHeader) == 24);
inline constexpr uint32_t kFrameMagic = 0x31594c50;  // "PLY1"
inline constexpr uint16_t kFrameVersion = 1;

struct HelloBody {
  uint32_t kind;  // EndpointKind
  uint32_t pid;
  uint32_t language;  // 1 ts, 2 py
  uint32_t
      flags;  // bit 0: this is the control socket of endpoint `endpoint`; bit 1: stdout, stderr fds come along
  uint32_t endpoint;  // with bit 0
  uint32_t
      job;  // 0: the raylet numbers a new one (drivers); workers get theirs from the startup token
  uint64_t startup_token;  // workers: what the raylet put in kRayletEvent worker_needed
  uint32_t protocol_min;
  uint32_t protocol_max;
  char package_version[32];
  char session_token[64];
};
static_assert(sizeof(HelloBody) == 136);

struct WelcomeBody {
  uint32_t endpoint;
  uint32_t serial;
  uint32_t node_tag;
  uint32_t job;
  uint64_t control_bytes;
  uint64_t data_bytes;
  char package_version[32];
};
static_assert(sizeof(WelcomeBody) == 64);

enum class ControlOp : uint32_t { kKill = 1, kInterrupt = 2, kStackDump = 3, kPing = 4 };

// Scheduling class sent with kLeaseRequest. Variable: `resource_count` x {u64 amount_fixed, char name[56]},
// then key bytes (environment hash, loader, working folder: workers are shared only within one key).
struct LeaseSpec {
  uint64_t
      class_hash;  // of everything below but the priority: requests with the same hash are one class
  uint32_t language;  // 1 ts, 2 py
  uint32_t job;
  uint32_t flags;  // bit 0: dedicated (actor): the worker leaves the pool for good
  uint32_t resource_count;
  uint32_t key_bytes;  // JSON text handed to the node service as it is, to spawn a worker
  int32_t priority;    // of the first call that waits; kLeaseBacklog changes it
};
static_assert(sizeof(LeaseSpec) == 32);
struct ResourceItem {
  uint64_t amount;  // 1/10,000
  char name[56];
};
static_assert(sizeof(ResourceItem) == 64);
inline constexpr uint64_t kResourceUnit = 10000;

// A placement group (kGroupAdd, kGroupRemove). Variable: need_count + extra_count x ResourceItem. `need` is what all
// bundles take from the node; `extra` are the resources by which work is placed into them (CPU_group_0_<id>, ...).
struct GroupSpec {
  char id[48];  // hexadecimal; the last part of the names in `extra`
  uint32_t need_count;
  uint32_t extra_count;
  uint32_t flags;  // bit 0: no node can ever hold it (it stays pending)
  uint32_t reserved;
};
static_assert(sizeof(GroupSpec) == 64);

}  // namespace polyray
