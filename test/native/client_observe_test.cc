// SPDX-License-Identifier: Apache-2.0
// Goal: events of calls tell what became of each run until they are read once, whoever died, however long it ran.
// Method: actors of the TestRuntime (client_support.h), and the rows that Client::observe gives.
#include <algorithm>
#include <cstddef>

#include "client_support.h"

namespace polyray {
namespace {

using testing::get;
using testing::run_until;
using testing::TestRuntime;
using testing::value_of;
using testing::wait_all;
using ActorProcess = TestRuntime::ActorProcess;

struct Row {
  EventOutcome outcome;
  std::string method;
  bool alive;
};

struct Observed : ::testing::Test {
  TestRuntime runtime{4};
  std::unique_ptr<Client> client = runtime.attach();

  ActorProcess actor() {
    const ActorProcess made = runtime.make_actor(*client);
    client->set_actor_state(made.id, ActorPhase::kAlive, made.peer, made.incarnation, 0, {});
    return made;
  }
  ObjectId call(const ActorProcess& to, std::string_view command, uint16_t flags = 0,
                uint64_t deadline_ms = 0) {
    const auto envelope = value_of(command);
    CallArguments arguments;
    arguments.method = command.substr(0, command.find(':'));
    arguments.envelope = envelope;
    arguments.flags = flags;
    arguments.deadline_ms = deadline_ms;
    ObjectId id;
    const Status status = client->submit_actor_call(to.id, arguments, &id);
    EXPECT_TRUE(status.is_ok()) << status.message;
    return id;
  }
  // Events of the actor's methods; calls that wait are left out.
  std::vector<Row> events(std::string_view method) {
    const std::vector<uint8_t> bytes = client->observe(1);
    std::vector<Row> rows;
    for (size_t at = 0; at + 160 <= bytes.size(); at += 160) {
      uint32_t outcome, source, alive;
      std::memcpy(&outcome, &bytes[at], 4);
      std::memcpy(&source, &bytes[at + 128], 4);
      std::memcpy(&alive, &bytes[at + 140], 4);
      const char* name = reinterpret_cast<const char*>(&bytes[at + offsetof(TaskEvent, method)]);
      if (source == 1 && method == name)
        rows.push_back({static_cast<EventOutcome>(outcome), name, alive == 1});
    }
    return rows;
  }
  void kill_and_wait(const ActorProcess& actor, pid_t pid) {
    kill(pid, SIGKILL);
    bool gone = false;
    ASSERT_TRUE(run_until(
        *client, [&] { return gone; },
        [&](Event& e) { gone |= e.kind == EventKind::kPeerGone && e.peer == actor.peer; }));
  }
};

TEST_F(Observed, EventsOfADeadProcessStayUntilTheyAreReadAndThenGiveTheirMemoryBack) {
  const ActorProcess one = actor();
  const ActorProcess two = actor();
  for (const ActorProcess& each : {one, two})
    for (int i = 0; i < 3; ++i) get(*client, call(each, "count"));
  const pid_t pids[2] = {std::stoi(get(*client, call(one, "pid"))),
                         std::stoi(get(*client, call(two, "pid")))};
  const uint64_t chunks = runtime.raylet->stats().event_chunks;
  ASSERT_GE(chunks, 2u);
  kill_and_wait(one, pids[0]);
  std::vector<Row> rows = events("count");
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(std::count_if(rows.begin(), rows.end(), [](const Row& row) { return !row.alive; }), 3);
  for (const Row& row : rows) EXPECT_EQ(row.outcome, EventOutcome::kFinished);
  EXPECT_TRUE(events("count").empty()) << "each is told once";
  kill_and_wait(two, pids[1]);
  EXPECT_TRUE(events("count").empty());
  // What a process wrote of its last call may have been read after its end: its memory goes back at the next end.
  const ActorProcess last = actor();
  kill_and_wait(last, std::stoi(get(*client, call(last, "pid"))));
  EXPECT_TRUE(run_until(
      *client, [&] { return runtime.raylet->stats().event_chunks < chunks; }, [](Event&) {}));
}

TEST_F(Observed, TheEventOfACallThatRunsLongIsNotOverwritten) {
  const ActorProcess busy = actor();
  const ObjectId held = call(busy, "hold");
  std::vector<ObjectId> ids;
  for (uint32_t i = 0; i < 2 * kEventsKept; ++i) {
    ids.push_back(call(busy, "count"));
    if (ids.size() < 1000) continue;
    ASSERT_TRUE(wait_all(*client, ids, {}, 120'000));
    for (const ObjectId& id : ids) client->release_ref(id);
    ids.clear();
  }
  ASSERT_TRUE(wait_all(*client, ids, {}, 120'000));
  std::vector<Row> rows = events("hold");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].outcome, EventOutcome::kRunning);
  for (int i = 0; i < 20; ++i) get(*client, call(busy, "count"));
  get(*client, call(busy, "letgo"));
  EXPECT_EQ(get(*client, held), "let go");
  rows = events("hold");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].outcome, EventOutcome::kFinished);
}

TEST_F(Observed, EachFinishedCallIsToldOnceWhileSlotsAreUsedAgain) {
  const ActorProcess busy = actor();
  size_t told = 0;
  for (int round = 0; round < 30; ++round) {
    std::vector<ObjectId> ids;
    for (int i = 0; i < 100; ++i) ids.push_back(call(busy, "count"));
    ASSERT_TRUE(wait_all(*client, ids));
    for (const Row& row : events("count")) told += row.outcome == EventOutcome::kFinished ? 1 : 0;
  }
  EXPECT_EQ(told, 3000u);
  EXPECT_LE(runtime.raylet->stats().event_chunks, 4u) << "read ones are used again";
}

TEST_F(Observed, ItemsOfAStreamThatItsCallerGaveUpAreLetGo) {
  const ActorProcess source = actor();
  const ObjectId late = call(source, "hold", kCallStreaming, os::now_ms() + 50);
  EXPECT_NE(get(*client, late).find("[task timeout]"), std::string::npos);
  EXPECT_EQ(get(*client, call(source, "emit:20")), "emitted");
  std::string kept;
  for (int i = 0; i < 10'000 && kept != "0 20"; ++i) kept = get(*client, call(source, "kept"));
  EXPECT_EQ(kept, "0 20") << "the producer keeps nothing, and does not wait for room";
  EXPECT_EQ(get(*client, call(source, "letgo")), "done");
}

}  // namespace
}  // namespace polyray

int main(int argc, char** argv) {
  return polyray::testing::tests_or_worker(argc, argv);
}
