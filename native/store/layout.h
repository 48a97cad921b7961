// SPDX-License-Identifier: Apache-2.0
// The bytes in the shared segment: every structure that two processes read.
//
// The segment is one memfd. It has two regions, mapped apart:
//   control  [0, control_bytes)               read-write in every process, MADV_DONTFORK
//     SegmentHeader | Endpoint[max_endpoints] | ChunkHeader[chunk_count] | SlabHeader[granule_count]
//     | Lease[max_leases] | chunk heap (64 KiB chunks: object entries, call records, rings, reference rows)
//   data     [control_bytes, +data_bytes)     object bytes: extents granted by the raylet, some cut into slabs
//
// Invariants (each is asserted by test/native/layout_test.cc or the explorer):
//  1. Every structure is standard layout, has a fixed size, and starts zeroed: all-zero bytes are the free state.
//  2. No lock lives here. Words with several writers are atomics with a protocol in protocols.h.
//  3. Only the raylet moves an object to FREE, gives data extents away or takes them back.
//  4. Offsets are relative to the segment start; 0 is never a valid offset of a thing.
//  5. A process that stops between any two instructions leaves a state that the raylet can sweep:
//     the worst outcome is one leaked count, never an early free.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace polyray {

inline constexpr uint64_t kSegmentMagic = 0x31594152594c4f50ULL;  // "POLYRAY1"
inline constexpr uint32_t kLayoutVersion = 4;

inline constexpr uint32_t kMaxEndpoints = 4096;
inline constexpr uint32_t kMaxInboundRings = 16384;  // a power of two, 64 * 64 * 4
inline constexpr uint32_t kMaxLeases = 65536;
inline constexpr uint64_t kChunkBytes = 64 * 1024;
inline constexpr uint64_t kGranuleBytes = 256 * 1024;  // a data slab
inline constexpr uint32_t kEntryBytes = 128;
inline constexpr uint32_t kEntriesPerChunk = kChunkBytes / kEntryBytes;  // 512
inline constexpr uint32_t kInlineBytes = 56;
inline constexpr uint32_t kRayletEndpoint = 0;
inline constexpr uint32_t kMaxRowChunks = 2048;  // 16 Mi references of one endpoint

// An object id: which node made it, which entry holds it, and a number never used twice on that node.
// A task's id is the id of its first return object.
struct ObjectId {
  uint32_t node_tag = 0;
  uint32_t index = 0;   // entry offset / kEntryBytes
  uint64_t unique = 0;  // (endpoint serial << 40) | sequence; 0 is nil
  friend bool operator==(const ObjectId&, const ObjectId&) = default;
};
static_assert(sizeof(ObjectId) == 16);

enum class EntryState : uint32_t { kFree = 0, kPending = 1, kSealed = 2, kDead = 3 };
// Flags share the state word with EntryState (low 8 bits), so one CAS orders seal against wait.
inline constexpr uint32_t kEntryStateMask = 0xff;
inline constexpr uint32_t kEntryWaiters =
    1u << 8;  // somebody subscribed at the raylet: the sealer must tell it
inline constexpr uint32_t kEntryError = 1u << 9;    // the value is an error envelope
inline constexpr uint32_t kEntryInline = 1u << 10;  // bytes are in inline_data
inline constexpr uint32_t kEntryHasRefs =
    1u << 11;  // the envelope lists refs that this container counts
inline constexpr uint32_t kEntryActor =
    1u << 12;  // an actor's lifetime object: pending for ever, refs are its handles
inline constexpr uint32_t kEntryKeep = 1u << 13;  // kept until its job ends (task specs)
inline constexpr uint32_t kEntrySpilled =
    1u << 14;  // bytes are on disk; inline_data holds a SpillPlace; pins stay closed
inline constexpr uint32_t kEntryFreed = 1u << 15;  // freed by a user: no new reader

inline constexpr uint32_t kRefsClosed =
    1u << 31;  // refs: the raylet has taken the entry; no new reference
inline constexpr uint32_t kPinsClosed = 1u << 31;  // pins: the bytes are being evicted; no new pin

struct alignas(64) ObjectEntry {
  std::atomic<uint64_t> unique;  // 0: free slot. Written first on creation, cleared last on free
  std::atomic<uint32_t> state;   // EntryState | flags
  std::atomic<uint32_t> refs;    // all references: rows of endpoints + containers
  std::atomic<uint32_t> pins;    // processes that have the bytes in place
  std::atomic<uint32_t> sealer;  // endpoint + 1 of who writes the bytes: the first seal wins
  uint32_t creator;              // endpoint whose chunk this is
  std::atomic<uint32_t> supervisor;  // endpoint that must settle this object while it is pending
  uint64_t offset;                   // data region, from segment start; 0 when inline
  uint64_t size;                     // envelope bytes
  uint64_t capacity;                 // bytes granted at offset (slab slot or extent)
  uint64_t supervisor_note;          // the supervisor's own: number of its pending call + 1, 0 none
  uint8_t inline_data[kInlineBytes];
  std::atomic<uint64_t>
      touched_ms;  // last seal or pin of an extent (CLOCK_MONOTONIC): who is spilled first
};
static_assert(sizeof(ObjectEntry) == kEntryBytes && std::is_standard_layout_v<ObjectEntry>);

// One 64 KiB piece of the chunk heap. Any process claims a free chunk by CAS on owner.
enum class ChunkKind : uint32_t {
  kFree = 0,
  kEntries = 1,
  kRecords = 2,
  kRings = 3,
  kRow = 4,
  kEvents = 5
};
inline constexpr uint32_t kOwnerOrphan =
    0xffffffff;  // the owner died; slots drain, then the raylet frees it

struct alignas(64) ChunkHeader {
  std::atomic<uint32_t> owner;  // endpoint + 1; 0 free
  std::atomic<uint32_t> kind;   // ChunkKind
  uint32_t slot_bytes;
  uint32_t slot_count;
  uint64_t dirty;  // 1: the bytes may not be zero; the next claimer clears them
  std::atomic<uint64_t>
      used[64];  // bitmap of used slots: owner sets, anybody clears (at most 512 slots are in use)
  uint64_t reserved2[5];
};
static_assert(sizeof(ChunkHeader) == 576);

// One granule (256 KiB) of the data region, when it is cut into slots for small objects.
struct alignas(64) SlabHeader {
  std::atomic<uint32_t> owner;  // endpoint + 1; 0: not a slab; kOwnerOrphan
  uint32_t slot_bytes;
  uint32_t slot_count;
  std::atomic<uint32_t> live;  // used slots (hint)
  uint64_t reserved[6];
  std::atomic<uint64_t>
      used[64];  // up to 4096 slots (64 bytes each); owner sets, raylet or owner clears
};
static_assert(sizeof(SlabHeader) == 576);

// A ring slot: one fixed record. What a, b, c, d mean depends on kind (wire/messages.h).
struct RingSlot {
  uint32_t kind;
  uint32_t a;
  uint64_t b;
  uint64_t c;
  uint64_t d;
};
static_assert(sizeof(RingSlot) == 32);

// Single producer, single consumer. Positions count slots for ever; slot = position & (capacity - 1).
struct alignas(64) RingHeader {
  std::atomic<uint64_t> tail;  // producer: next to write
  uint64_t pad0[7];
  std::atomic<uint64_t> head;  // consumer: next to read
  uint64_t pad1[7];
  uint32_t capacity;              // power of two
  uint32_t producer;              // endpoint
  uint32_t consumer;              // endpoint
  uint32_t inbound;               // index in the consumer's inbound table
  uint64_t reply;                 // offset of the ring that goes the other way, 0 if none
  std::atomic<uint32_t> starved;  // producer holds overflow: consumer rings it after draining
  std::atomic<uint32_t> closed;   // 1: producer will write no more (or died); 2: consumer is gone
  uint64_t reserved[4];
};
static_assert(sizeof(RingHeader) == 192);

enum class EndpointKind : uint32_t {
  kNone = 0,
  kRaylet = 1,
  kService = 2,
  kDriver = 3,
  kWorker = 4,
  kClient = 5
};
enum class EndpointState : uint32_t { kFree = 0, kAttached = 1, kDead = 2 };
inline constexpr uint32_t kArmedEventFd = 1;
inline constexpr uint32_t kArmedFutex = 2;

// What one process did since it attached, counted by that process alone: relaxed loads and stores, no contended word. Anybody
// reads. The raylet adds a dead endpoint's numbers to those of its role. Names: store/counters.h, in this order.
enum class Count : uint32_t {
  kTasksSubmitted = 0,
  kActorCallsSubmitted = 1,
  kTasksSent = 2,      // to a leased worker, again after a retraction too
  kLeasesGranted = 3,  // to this process
  kRetries = 4,        // calls of this process that were sent again after a failure
  kRetracted = 5,      // taken back from a worker that had not begun them
  kGivenUp = 6,        // settled with an error by this process: cancelled, late, its worker died
  kCallsExecuted = 7,
  kCallsFinished = 8,
  kCallsFailed = 9,
  kCallsRetried = 10,  // failed, and the submitter runs them again
  kCallsCancelled = 11,
  kRecordsSent = 12,  // over rings
  kBellsRung = 13,    // each is a system call; the others found the receiver awake, or had company
  kPuts = 14,
  kPutBytes = 15,
  kZeroCopyBytes = 16,    // read in place
  kExtentRequests = 17,   // exchanges with the raylet for memory
  kSlabGranules = 18,     // of them: granules cut into slots for small values
  kPopulatedBytes = 19,   // memory whose pages this process had to be given first
  kPagesReusedBytes = 20  // memory whose pages it had already
};
inline constexpr uint32_t kCounts = 21;
struct alignas(64) EndpointCounters {
  std::atomic<uint64_t> values[32];
  // REQUIRES: called by the one process that these belong to, one thread at a time.
  void add(Count which, uint64_t n = 1) {
    std::atomic<uint64_t>& value = values[static_cast<uint32_t>(which)];
    value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  uint64_t get(Count which) const {
    return values[static_cast<uint32_t>(which)].load(std::memory_order_relaxed);
  }
};
static_assert(sizeof(EndpointCounters) == 256 && kCounts <= 32);

// Reference row slot: what this endpoint counts. The state says what the sweep must undo.
//   bits 0..31 entry index | 32..55 low bits of unique | 56..63 RowState
enum class RowState : uint64_t { kEmpty = 0, kAcquiring = 1, kRef = 2, kPin = 3 };

struct alignas(64) Endpoint {
  std::atomic<uint32_t> state;  // EndpointState
  uint32_t kind;                // EndpointKind
  uint32_t pid;
  uint32_t serial;                // never used twice: the high part of ids made here
  uint32_t job;                   // driver's job number
  uint32_t language;              // 1 ts, 2 py
  std::atomic<uint64_t> devices;  // worker: the GPUs of its lease, a bit each; the raylet writes it
  uint64_t reserved0[4];
  std::atomic<uint32_t> armed;  // the wake word: kArmed* bits; protocols.h publish/arm
  uint32_t pad1[15];
  // What a dead endpoint was in the middle of (invariant 5).
  std::atomic<uint32_t> sealing;        // entry index being sealed, 0 none
  std::atomic<uint32_t> seal_progress;  // nested references already added for it
  std::atomic<uint32_t> row_chunk_count;
  std::atomic<uint32_t> inbound_high;  // one past the highest inbound slot ever used
  uint64_t to_raylet;                  // ring offsets, written by the raylet before kAttached
  uint64_t from_raylet;
  uint64_t reserved1[4];
  std::atomic<uint32_t>
      row_chunks[kMaxRowChunks];  // chunk number + 1 of each reference row chunk (8,192 slots each)
  std::atomic<uint64_t>
      ready_summary[kMaxInboundRings / 64 / 64];  // 4 words: which words of ready are non-zero
  uint64_t pad2[4];
  std::atomic<uint64_t> ready[kMaxInboundRings / 64];  // ring i has records
  std::atomic<uint64_t>
      inbound_used[kMaxInboundRings / 64];  // slot i of inbound is taken (CAS by the opener)
  EndpointCounters counters;
  std::atomic<uint64_t> inbound[kMaxInboundRings];  // ring offsets
};
static_assert(sizeof(Endpoint) ==
              64 + 64 + 64 + 4 * kMaxRowChunks + 64 + 2048 + 2048 + 256 + 131072);
inline constexpr uint64_t kEndpointStride = 36 * 4096;
static_assert(sizeof(Endpoint) <= kEndpointStride);

// A worker lease as both sides see it. The holder flips ACTIVE<->IDLE without a message; the raylet takes an IDLE one.
enum class LeaseState : uint32_t { kFree = 0, kActive = 1, kIdle = 2, kRevoked = 3, kReturned = 4 };
inline constexpr uint32_t kLeaseStateMask = 0xff;
inline constexpr uint32_t kLeaseYield =
    1u << 8;  // others wait: give it back as soon as the queue is empty
inline constexpr uint32_t kLeaseUrgent = 1u
                                         << 9;  // with kLeaseYield: for calls of a higher priority

struct alignas(64) Lease {
  std::atomic<uint32_t> word;  // LeaseState | kLeaseYield | kLeaseUrgent
  uint32_t holder;             // endpoint
  uint32_t worker;             // endpoint
  uint32_t worker_serial;
  uint64_t reserved[6];
};
static_assert(sizeof(Lease) == 64);

struct alignas(64) SegmentHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t node_tag;
  uint64_t control_bytes;
  uint64_t data_bytes;
  uint64_t endpoints_offset;
  uint64_t chunk_headers_offset;
  uint64_t chunk_count;
  uint64_t chunks_offset;  // multiple of kChunkBytes
  uint64_t slab_headers_offset;
  uint64_t granule_count;
  uint64_t leases_offset;
  uint32_t raylet_pid;
  uint32_t pad;
  std::atomic<uint64_t> next_chunk_hint;
  std::atomic<uint64_t>
      chunk_high;  // one past the highest chunk ever claimed: what a scan has to visit
  std::atomic<uint64_t> granule_high;  // one past the highest granule ever cut into a slab
  // Counters for `polyray status --verbose`.
  std::atomic<uint64_t> data_used_bytes;
  std::atomic<uint64_t> objects_live;
  std::atomic<uint64_t> lease_watch;  // 1: the raylet wants kLeaseActive
  // Record slot with the spill folders' paths, each ended by NUL, the list by an empty one; 0: nothing was spilled yet.
  std::atomic<uint64_t> spill_folders;
  std::atomic<uint64_t> spill_reads;  // spilled objects that clients mapped, and their bytes
  std::atomic<uint64_t> spill_read_bytes;
  // How often idle pages went back to the system: what a process remembers of its page tables ends with it.
  std::atomic<uint64_t> pages_given_back;
};

// Where a spilled object's bytes are: in inline_data of its entry.
struct SpillPlace {
  uint64_t file;    // number; its name is the number in decimal
  uint64_t offset;  // in the file, a multiple of 64
  uint32_t folder;  // index in the header's list
  uint32_t pad;
};
static_assert(sizeof(SpillPlace) <= kInlineBytes);

// Call record: lives in a record slot of the submitter until the reply is committed. Variable tail:
//   ObjectId returns[return_count]; ObjectId refs[ref_count]; uint8_t payload[payload_bytes] (8-byte aligned)
// refs = every id inside the arguments (top level ones first: the first top_ref_count are substituted).
enum class Claim : uint32_t { kNone = 0, kQueued = 1, kRunning = 2, kRetracted = 3, kDone = 4 };
enum class CallKind : uint16_t { kTask = 1, kActorCreate = 2, kActorCall = 3 };
inline constexpr uint16_t kCallStreaming = 1;  // generator: items are reported one by one
inline constexpr uint16_t kCallArgsInStore =
    2;  // payload is one ObjectId: the sealed args envelope
inline constexpr uint16_t kCallRetryExceptions =
    4;  // the callee answers kRetry for an exception while retries are left
inline constexpr uint16_t kCallRetriable =
    16;  // it was submitted with retries: run again after its worker was ended for lack of memory
inline constexpr uint16_t kCallLanguageBits = 0xff00;  // passed through; the languages agree
inline constexpr uint16_t kCallCallerBits =
    kCallStreaming | kCallRetryExceptions | kCallLanguageBits;

struct alignas(64) CallRecord {
  std::atomic<uint32_t> claim;  // Claim: worker QUEUED->RUNNING, caller or raylet QUEUED->RETRACTED
  uint16_t kind;
  uint16_t flags;
  uint32_t caller;  // endpoint
  uint32_t caller_serial;
  uint64_t seq;           // per caller and actor, from 1
  uint32_t incarnation;   // of the actor
  uint32_t attempt;       // 0 first
  ObjectId spec;          // sealed TaskSpec (FlatBuffers)
  ObjectId actor;         // nil for tasks
  uint32_t method_bytes;  // method name: first bytes of payload
  uint32_t return_count;
  uint32_t ref_count;
  uint32_t top_ref_count;
  uint32_t payload_bytes;  // method name + args envelope
  int32_t retries_left;    // -1 for ever
  uint32_t lease;          // lease number, 0 none
  uint32_t depth;          // nesting depth of the call
  uint64_t deadline_ms;    // CLOCK_MONOTONIC, 0 none
  uint64_t target;         // callee endpoint | serial << 32, written before claim = QUEUED
  uint32_t caller_slot;    // the submitter's own number of the pending call
  uint32_t service_ns;     // written by the callee before kDone: how long it ran (saturating)
};
static_assert(sizeof(CallRecord) == 128);

// What became of one run of a call: written by the process that ran it (or that gave it up), read by the node service. A
// process keeps its last kEventsKept ones and those of calls that run, and uses their slots again. Who has a finished one,
// the reader or the writer that needs its slot, is decided by a CAS on its word (protocols.h). Those of a dead process stay
// until they are read.
inline constexpr uint32_t kEventsKept = 8192;
enum class EventOutcome : uint32_t {
  kRunning = 0,
  kFinished = 1,
  kFailed = 2,
  kRetried = 3,   // it failed and will run again
  kReturned = 4,  // not begun after all
  kCancelled = 5,
  kNeverRan = 6,  // its caller settled it with an error
  kRead = 7,      // its slot may be used again, or is being written
};
inline constexpr uint32_t kEventOutcomeMask = 7;
inline constexpr uint32_t kEventUse =
    kEventOutcomeMask + 1;  // the bits above count uses of the slot
struct TaskEvent {
  // EventOutcome, and how often the slot was used; written last; kRunning: the writer's alone
  std::atomic<uint32_t> word;
  uint16_t kind;  // CallKind
  uint16_t attempt;
  uint32_t pid;
  uint32_t job;
  ObjectId task;
  ObjectId spec;
  ObjectId actor;
  uint64_t start_ns;  // CLOCK_MONOTONIC; 0: never began
  uint64_t end_ns;
  uint32_t serial;  // of the endpoint that wrote it
  char method[44];  // NUL-terminated, cut
};
static_assert(sizeof(TaskEvent) == kEntryBytes);

}  // namespace polyray
