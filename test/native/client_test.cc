// SPDX-License-Identifier: Apache-2.0
// Goal: objects, tasks and actor calls through the real client, raylet and worker processes.
// Method: a TestRuntime (client_support.h) per test; workers are this program started with --worker.
#include <cstdlib>

#include "client_support.h"

#include <poll.h>
#include <sys/resource.h>

namespace polyray {
namespace {

using testing::get;
using testing::read_text;
using testing::run_until;
using testing::Submitter;
using testing::TestRuntime;
using testing::text_of;
using testing::value_of;
using testing::wait_all;

// --- objects -----------------------------------------------------------------------------------------------------

TEST(ClientObjects, ValuesOfEverySizeComeBackAsTheyWere) {
  TestRuntime runtime;
  auto client = runtime.attach();
  for (const size_t size :
       {0u, 1u, 40u, 41u, 57u, 100u, 4096u, 65536u, 65537u, 1000000u, 9000000u}) {
    std::vector<uint8_t> bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + size);
    Result<ObjectId> id = client->put(bytes, {});
    ASSERT_TRUE(id.is_ok()) << size << " " << id.status().message;
    Result<ObjectView> view = client->pin(id.value());
    ASSERT_TRUE(view.is_ok()) << view.status().message;
    ASSERT_EQ(view.value().size, size);
    EXPECT_EQ(0, size == 0 ? 0 : std::memcmp(view.value().data, bytes.data(), size));
    EXPECT_EQ(view.value().pinned, size > kInlineBytes);
    if (view.value().pinned) client->unpin(id.value());
    client->release_ref(id.value());
  }
}

TEST(ClientObjects, ReleasedMemoryIsUsedAgain) {
  TestRuntime runtime(2, 32 << 20);
  auto client = runtime.attach();
  for (int i = 0; i < 200; ++i) {
    Result<PutBuffer> buffer = client->put_begin(8 << 20, 5000);
    ASSERT_TRUE(buffer.is_ok()) << i << " " << buffer.status().message;
    buffer.value().data[0] = 1;
    const ObjectId id = buffer.value().id;
    ASSERT_TRUE(client->put_seal(buffer.value(), {}).is_ok());
    client->release_ref(id);
  }
}

// Puts 8 MiB; gives how many of its 2,048 pages took a fault when they were written.
long faults_of_a_put(Client& client) {
  constexpr uint64_t kBytes = 8 << 20;
  Result<PutBuffer> buffer = client.put_begin(kBytes, 5000);
  EXPECT_TRUE(buffer.is_ok()) << buffer.status().message;
  struct rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  const long before = usage.ru_minflt;
  for (uint64_t at = 0; at < kBytes; at += 4096) buffer.value().data[at] = 1;
  getrusage(RUSAGE_THREAD, &usage);
  const ObjectId id = buffer.value().id;
  EXPECT_TRUE(client.put_seal(buffer.value(), {}).is_ok());
  client.release_ref(id);
  return usage.ru_minflt - before;
}

TEST(ClientObjects, PagesAreInTheTablesBeforeTheyAreWritten) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's shadow memory takes faults of its own";
#endif
  TestRuntime runtime(2, 64 << 20);
  auto one = runtime.attach();
  auto two = runtime.attach();
  EXPECT_LT(faults_of_a_put(*one), 100) << "new pages";
  EXPECT_LT(faults_of_a_put(*one), 100) << "pages used before";
  EXPECT_LT(faults_of_a_put(*two), 100) << "whoever used them before";
  const auto& given_back = one->segment().header().pages_given_back;
  EXPECT_TRUE(run_until(*one, [&] { return given_back.load() != 0; }, [](Event&) {}));
  EXPECT_LT(faults_of_a_put(*two), 100) << "the system had them meanwhile";
  EXPECT_LT(faults_of_a_put(*one), 100) << "the other process knows that as well";
}

TEST(ClientObjects, AFullStoreIsATypedError) {
  TestRuntime runtime(2, 16 << 20);
  auto client = runtime.attach();
  std::vector<ObjectId> held;
  StatusCode code = StatusCode::kOk;
  for (int i = 0; i < 10 && code == StatusCode::kOk; ++i) {
    Result<PutBuffer> buffer = client->put_begin(4 << 20, 50);
    if (!buffer.is_ok()) {
      code = buffer.status().code;
      EXPECT_FALSE(buffer.status().message.empty());
      break;
    }
    ASSERT_TRUE(client->put_seal(buffer.value(), {}).is_ok());
  }
  EXPECT_EQ(code, StatusCode::kObjectStoreFull);
}

TEST(ClientObjects, AContainerKeepsTheObjectsInsideAlive) {
  TestRuntime runtime;
  auto client = runtime.attach();
  const ObjectId inner = client->put(value_of("inner"), {}).value();
  const ObjectId outer = client->put(value_of("outer", {&inner, 1}), {&inner, 1}).value();
  client->release_ref(inner);
  client->gc_done();  // rings the raylet
  os::sleep_ms(50);
  EXPECT_EQ(client->status(inner), ObjectStatus::kSealed);
  EXPECT_TRUE(client->add_ref(inner));
  EXPECT_EQ(read_text(*client, inner), "inner");
  client->release_ref(inner);
  client->release_ref(outer);
  client->gc_done();
  for (int i = 0; i < 500 && client->status(inner) != ObjectStatus::kGone; ++i) os::sleep_ms(10);
  EXPECT_EQ(client->status(outer), ObjectStatus::kGone);
  EXPECT_EQ(client->status(inner), ObjectStatus::kGone);
}

TEST(ClientObjects, AnAbortedPutLeavesNothing) {
  TestRuntime runtime;
  auto client = runtime.attach();
  for (const uint64_t size : {8u, 1000u, 1000000u}) {
    PutBuffer buffer = client->put_begin(size, 1000).value();
    const ObjectId id = buffer.id;
    client->put_abort(buffer);
    EXPECT_EQ(client->put_seal(buffer, {}).code, StatusCode::kClosed);
    client->gc_done();
    for (int i = 0; i < 500 && client->status(id) != ObjectStatus::kGone; ++i) os::sleep_ms(10);
    EXPECT_EQ(client->status(id), ObjectStatus::kGone);
  }
}

TEST(ClientObjects, AnotherClientIsToldWhenAnObjectIsSealed) {
  TestRuntime runtime;
  auto maker = runtime.attach();
  auto waiter = runtime.attach();
  PutBuffer buffer = maker->put_begin(100, 1000).value();
  ASSERT_TRUE(waiter->add_ref(buffer.id));
  EXPECT_EQ(waiter->subscribe(buffer.id), ObjectStatus::kPending);
  waiter->flush();
  const ObjectId id = buffer.id;
  bool told = false;
  EXPECT_FALSE(run_until(*waiter, [&] { return told; }, [&](Event& e) { told |= e.id == id; }, 50));
  ASSERT_TRUE(maker->put_seal(buffer, {}).is_ok());
  maker->flush();
  EXPECT_TRUE(run_until(
      *waiter, [&] { return told; },
      [&](Event& e) { told |= e.id == id && e.status == ObjectStatus::kSealed; }));
}

TEST(ClientObjects, AWaitForMemoryGivesTheEventLoopItsBellBack) {
  TestRuntime runtime;
  auto maker = runtime.attach();
  auto loop = runtime.attach();
  PutBuffer pending = maker->put_begin(100, 1000).value();
  ASSERT_TRUE(loop->add_ref(pending.id));
  EXPECT_EQ(loop->subscribe(pending.id), ObjectStatus::kPending);
  std::vector<Event> events;
  do {
    os::drain_event(loop->doorbell_fd());
    loop->poll(events, 10);
  } while (!loop->arm(kArmedEventFd));
  // Big puts between two turns of the event loop: each waits for the raylet on the futex.
  for (int i = 0; i < 3; ++i)
    loop->release_ref(loop->put(std::vector<uint8_t>(1 << 20, 1), {}).value());
  ASSERT_TRUE(maker->put_seal(pending, {}).is_ok());
  maker->flush();
  EXPECT_TRUE(os::wait_readable(loop->doorbell_fd(), 10'000)) << "the loop was never rung";
}

TEST(ClientObjects, ReleasesReachTheRayletWithoutAnyPoll) {
  TestRuntime runtime(2, 32 << 20);
  auto client = runtime.attach();
  const std::vector<uint8_t> kilobyte(1024, 1);
  for (int i = 0; i < 200'000; ++i) {
    Result<ObjectId> id = client->put(kilobyte, {});
    ASSERT_TRUE(id.is_ok()) << i << " " << id.status().message;
    client->release_ref(id.value());
  }
}

TEST(ClientObjects, AForkedChildIsDetachedAndMayAttachAnew) {
  TestRuntime runtime;
  auto client = runtime.attach();
  const ObjectId big = client->put(std::vector<uint8_t>(100'000, 7), {}).value();
  ObjectView view = client->pin(big).value();
  const pid_t child = fork();
  if (child == 0) {
    int wrong = 0;
    if (!client->is_detached()) wrong |= 1;
    if (client->put(value_of("x"), {}).is_ok()) wrong |= 2;
    if (view.data[99'999] != 7) wrong |= 4;  // values of the parent stay readable
    std::vector<Event> events;
    if (client->poll(events, 10) != 0) wrong |= 8;
    AttachOptions options;
    options.socket_name = runtime.raylet->socket_name();
    options.token = testing::kToken;
    options.job = client->job();
    Result<std::unique_ptr<Client>> again = Client::attach(options);
    if (!again.is_ok()) {
      wrong |= 16;
    } else {
      const ObjectId id = again.value()->put(std::vector<uint8_t>(5000, 1), {}).value();
      if (again.value()->status(id) != ObjectStatus::kSealed) wrong |= 32;
      again.value()->detach();
    }
    client.reset();
    _exit(wrong);
  }
  const ObjectId more = client->put(value_of("parent goes on"), {}).value();
  EXPECT_EQ(read_text(*client, more), "parent goes on");
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_FALSE(client->is_detached());
  client->unpin(big);
}

// --- tasks -------------------------------------------------------------------------------------------------------

struct Tasks : ::testing::Test {
  TestRuntime runtime;
  std::unique_ptr<Client> client = runtime.attach();
  Submitter submitter{*client, client->register_spec(testing::make_spec(*client))};
};

TEST_F(Tasks, ATaskRunsInAWorkerAndItsResultComesBack) {
  const ObjectId id = submitter.task("echo:hello");
  EXPECT_EQ(get(*client, id), "hello");
}

TEST_F(Tasks, TenThousandTasksAllRun) {
  std::vector<ObjectId> ids;
  for (int i = 0; i < 10'000; ++i) ids.push_back(submitter.task("echo:" + std::to_string(i)));
  ASSERT_TRUE(wait_all(*client, ids, {}, 120'000));
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(read_text(*client, ids[i]), std::to_string(i));
    client->release_ref(ids[i]);
  }
}

TEST_F(Tasks, RefsAsArgumentsAreReadyWhenTheTaskStarts) {
  const ObjectId one = client->put(value_of("1"), {}).value();
  ObjectId last = submitter.task("sum:1", {&one, 1}, 1);
  for (int i = 0; i < 50; ++i) {
    const ObjectId refs[2] = {last, one};
    last = submitter.task("sum:0", refs, 2);
  }
  EXPECT_EQ(get(*client, last), "52");
}

TEST_F(Tasks, AnArgumentThatFailedFailsTheTaskWithTheSameError) {
  const ObjectId bad = submitter.task("fail:the first cause");
  ObjectId last = submitter.task("sum:1", {&bad, 1}, 1);
  for (int i = 0; i < 2000; ++i) last = submitter.task("sum:1", {&last, 1}, 1);
  const std::string text = get(*client, last);
  EXPECT_EQ(client->status(last), ObjectStatus::kError);
  EXPECT_NE(text.find("the first cause"), std::string::npos);
}

TEST_F(Tasks, LargeArgumentsAndManyRefsTravelThroughTheStore) {
  const std::string filler(200'000, 'y');
  const ObjectId big = submitter.task("size:" + filler);
  EXPECT_EQ(get(*client, big), std::to_string(16 + 5 + filler.size()) + " 0");
  std::vector<ObjectId> refs;
  for (int i = 0; i < 10'000; ++i) refs.push_back(client->put(value_of("1"), {}).value());
  const ObjectId sum = submitter.task("sum:0", refs, 10'000);
  for (const ObjectId& ref : refs) client->release_ref(ref);  // the call holds them
  EXPECT_EQ(get(*client, sum), "10000");
}

TEST_F(Tasks, LargeResultsComeBack) {
  const ObjectId id = submitter.task("big:3000000");
  EXPECT_EQ(get(*client, id).size(), 3'000'000u);
}

TEST_F(Tasks, SeveralReturnsAreSealedTogether) {
  const auto envelope = value_of("echo:all");
  CallArguments arguments;
  arguments.envelope = envelope;
  arguments.return_count = 1000;
  std::vector<ObjectId> ids(1000);
  ASSERT_TRUE(client->submit_task(submitter.spec, arguments, ids.data()).is_ok());
  ASSERT_TRUE(wait_all(*client, ids));
  for (const ObjectId& id : ids) EXPECT_EQ(read_text(*client, id), "all");
}

TEST_F(Tasks, ATaskMaySubmitTasks) {
  std::vector<ObjectId> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(submitter.task("nested:" + std::to_string(i)));
  ASSERT_TRUE(wait_all(*client, ids));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(read_text(*client, ids[i]), "nested " + std::to_string(i));
}

TEST(ClientTasks, TwoTasksInOneWorkerMayWaitForEachOther) {
  TestRuntime runtime(1);
  auto client = runtime.attach();
  Submitter submitter{*client, client->register_spec(testing::make_spec(*client))};
  for (int i = 0; i < 30; ++i)
    get(*client, submitter.task("echo:warm"));  // known to be short: calls are queued deep
  for (int round = 0; round < 5; ++round) {
    // The getter is submitted first and waits for a task queued behind it in the same worker.
    PutBuffer later = client->put_begin(40, 1000).value();
    const ObjectId id = later.id;
    const ObjectId getter = submitter.task("get", {&id, 1}, 0);
    const ObjectId behind = submitter.task("echo:behind");
    EXPECT_EQ(get(*client, behind), "behind");
    const auto bytes = value_of("late");
    std::memcpy(later.data, bytes.data(), bytes.size());
    later.size = bytes.size();
    ASSERT_TRUE(client->put_seal(later, {}).is_ok());
    client->flush();
    EXPECT_EQ(get(*client, getter), "late");
  }
}

TEST_F(Tasks, ArgumentsThatWerePutAreReadFromTheirObjectAndFreedWithTheCall) {
  // The worker's command is followed by what makes the arguments big.
  const ObjectId inner = client->put(value_of("inner"), {}).value();
  const std::string command = "echo:" + std::string(100'000, 'x');
  auto envelope = value_of(command, {&inner, 1});
  envelope[2] = 1;  // top-level
  const ObjectId stored = client->put(envelope, {&inner, 1}).value();
  client->release_ref(inner);
  CallArguments arguments;
  arguments.stored = stored;
  arguments.max_retries = 0;
  ObjectId id;
  ASSERT_TRUE(client->submit_task(submitter.spec, arguments, &id).is_ok());
  client->release_ref(stored);  // the call has its own
  EXPECT_EQ(get(*client, id), std::string(100'000, 'x'));
  client->release_ref(id);
  client->gc_done();
  const auto freed = [&] {
    return client->status(stored) == ObjectStatus::kGone &&
           client->status(inner) == ObjectStatus::kGone;
  };
  EXPECT_TRUE(run_until(*client, freed, [](Event&) {}));
  EXPECT_EQ(client->submit_task(submitter.spec, arguments, &id).code, StatusCode::kObjectFreed);
}

TEST_F(Tasks, ACallWithStoredArgumentsWaitsForTheRefsInside) {
  PutBuffer later = client->put_begin(40, 1000).value();
  const ObjectId pending = later.id;
  auto envelope = value_of("get", {&pending, 1});
  envelope[2] = 1;  // top-level
  const ObjectId stored = client->put(envelope, {&pending, 1}).value();
  CallArguments arguments;
  arguments.stored = stored;
  ObjectId id;
  ASSERT_TRUE(client->submit_task(submitter.spec, arguments, &id).is_ok());
  client->flush();
  EXPECT_EQ(client->status(id), ObjectStatus::kPending);
  const std::vector<uint8_t> rows = client->observe(1);
  ASSERT_EQ(rows.size(), 160u);
  EXPECT_EQ(rows[136], 1) << "listed as waiting for arguments";
  const auto bytes = value_of("late");
  std::memcpy(later.data, bytes.data(), bytes.size());
  later.size = bytes.size();
  ASSERT_TRUE(client->put_seal(later, {}).is_ok());
  EXPECT_EQ(get(*client, id), "late");
}

TEST_F(Tasks, AWorkerThatDiesBetweenSealAndReplyHasDoneItsTask) {
  const ObjectId id = submitter.task("sealdie", {}, 0, 3);
  EXPECT_EQ(get(*client, id), "sealed 0");
  EXPECT_EQ(client->counters().retries, 0u);
}

TEST_F(Tasks, AWorkerThatDiesWhileItRunsATaskIsReplacedAndTheTaskRetried) {
  EXPECT_EQ(get(*client, submitter.task("dieonce", {}, 0, 3)), "attempt 1");
  const ObjectId id = submitter.task("die", {}, 0, 0);
  const std::string text = get(*client, id);
  EXPECT_EQ(client->status(id), ObjectStatus::kError);
  EXPECT_NE(text.find("signal 9"), std::string::npos) << text;
}

TEST_F(Tasks, CallsBehindAWorkersDeathRunElsewhereWithoutCountingAsRetries) {
  for (int i = 0; i < 30; ++i) get(*client, submitter.task("echo:warm"));
  std::vector<ObjectId> ids;
  for (int i = 0; i < 200; ++i) ids.push_back(submitter.task(i == 50 ? "die" : "echo:x"));
  ASSERT_TRUE(wait_all(*client, ids));
  for (int i = 0; i < 200; ++i) {
    if (i == 50)
      EXPECT_EQ(client->status(ids[i]), ObjectStatus::kError);
    else
      EXPECT_EQ(read_text(*client, ids[i]), "x") << i;
  }
}

TEST_F(Tasks, AWorkerMayAskForARetry) {
  EXPECT_EQ(get(*client, submitter.task("retry:2", {}, 0, 5)), "attempt 2");
}

TEST_F(Tasks, AWorkerThatLeavesHandsItsTasksBack) {
  for (int i = 0; i < 30; ++i) get(*client, submitter.task("echo:warm"));
  std::vector<ObjectId> ids;
  for (int i = 0; i < 100; ++i) ids.push_back(submitter.task(i == 10 ? "leave" : "echo:x"));
  ASSERT_TRUE(wait_all(*client, ids));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(read_text(*client, ids[i]), i == 10 ? "left" : "x");
}

TEST_F(Tasks, AQueuedTaskIsCancelledAtOnceAndARunningOneIsTold) {
  std::vector<ObjectId> running;
  for (int i = 0; i < 2; ++i) running.push_back(submitter.task("untilcancel"));
  client->flush();
  while (client->call_peer(running[0]) == 0 || client->call_peer(running[1]) == 0) {
    std::vector<Event> events;
    client->poll(events, 16);
    os::sleep_ms(1);
  }
  os::sleep_ms(200);
  const ObjectId queued = submitter.task("echo:never");
  EXPECT_TRUE(client->cancel(queued, false, true, {}));
  EXPECT_EQ(client->status(queued), ObjectStatus::kError);
  EXPECT_FALSE(client->cancel(queued, false, true, {})) << "it is over";
  EXPECT_FALSE(client->cancel(running[0], false, true, {}));
  EXPECT_FALSE(client->cancel(running[1], false, false, {}));
  EXPECT_NE(get(*client, running[0]).find("cancelled by the worker 0"), std::string::npos);
  const std::string alone = "cancelled by the worker " + std::to_string(kCancelNotRecursive);
  EXPECT_NE(get(*client, running[1]).find(alone), std::string::npos);
}

TEST_F(Tasks, ATaskPastItsDeadlineIsSettledWhereverItIs) {
  const auto limited = [&](std::string_view command, uint32_t limit_ms) {
    const auto envelope = value_of(command);
    CallArguments arguments;
    arguments.envelope = envelope;
    arguments.deadline_ms = os::now_ms() + limit_ms;
    arguments.max_retries = -1;
    ObjectId id;
    EXPECT_TRUE(client->submit_task(submitter.spec, arguments, &id).is_ok());
    return id;
  };
  EXPECT_EQ(get(*client, limited("echo:in time", 60'000)), "in time");
  // Two that never look at their rings hold both CPUs; the others never start.
  std::vector<ObjectId> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(limited("sleep:60000", 50));
  ASSERT_TRUE(wait_all(*client, ids));
  for (const ObjectId& id : ids)
    EXPECT_NE(read_text(*client, id).find("[task timeout]"), std::string::npos)
        << read_text(*client, id);
  EXPECT_EQ(get(*client, limited("echo:again", 60'000)), "again") << "a new worker is there";
  const std::string told = get(*client, limited("untilcancel", 300));
  EXPECT_NE(
      told.find("cancelled by the worker " + std::to_string(kCancelTimeout | kCancelNotRecursive)),
      std::string::npos);
  EXPECT_EQ(get(*client, submitter.task("echo:after")), "after");
}

TEST_F(Tasks, AHostLoopThatSleepsInPollOfItsOwnIsWoken) {
  // What an embedder does whose loop is not ours: it sleeps on the two descriptors, without any timeout, and polls the
  // client only when one of them is readable.
  for (int round = 0; round < 50; ++round) {
    const ObjectId id = submitter.task(round % 2 == 0 ? "echo:x" : "sleep:2");
    bool ready = client->subscribe(id) != ObjectStatus::kPending;
    client->flush();
    while (!ready) {
      std::vector<Event> events;
      client->poll(events, 64);
      for (const Event& event : events)
        ready |= event.kind == EventKind::kObjectReady && event.id == id;
      if (ready || !client->arm(kArmedEventFd)) continue;
      pollfd fds[2] = {{client->doorbell_fd(), POLLIN, 0}, {client->socket_fd(), POLLIN, 0}};
      constexpr int kWatchdogMs = 30'000;
      ASSERT_GT(::poll(fds, 2, kWatchdogMs), 0) << "nobody rang in round " << round;
      os::drain_event(client->doorbell_fd());
    }
    client->release_ref(id);
  }
}

TEST_F(Tasks, CancelRacesAlwaysSettleTheTask) {
  std::vector<ObjectId> ids;
  for (int i = 0; i < 2000; ++i) {
    ids.push_back(submitter.task("echo:x"));
    if (i % 3 == 0) client->cancel(ids[static_cast<size_t>(i) * 2 / 3], false, true, {});
    if (i % 50 == 0) {
      std::vector<Event> events;
      client->poll(events, 64);
    }
  }
  ASSERT_TRUE(wait_all(*client, ids));
  for (const ObjectId& id : ids) EXPECT_NE(client->status(id), ObjectStatus::kPending);
  EXPECT_EQ(get(*client, submitter.task("echo:after")), "after");
}

TEST_F(Tasks, AStreamDeliversItsItemsInOrderAndThenEnds) {
  const auto envelope = value_of("stream:300");
  CallArguments arguments;
  arguments.envelope = envelope;
  arguments.flags = kCallStreaming;
  ObjectId task;
  ASSERT_TRUE(client->submit_task(submitter.spec, arguments, &task).is_ok());
  client->flush();
  std::vector<std::string> items;
  bool ended = false;
  ASSERT_TRUE(run_until(
      *client, [&] { return ended; },
      [&](Event& event) {
        if (event.kind == EventKind::kStreamItem) {
          EXPECT_EQ(event.a, items.size());
          items.push_back(read_text(*client, event.id2));
          client->release_ref(event.id2);
          client->stream_consumed(task, event.a + 1);
        }
        ended |= event.kind == EventKind::kStreamEnd;
      }));
  ASSERT_EQ(items.size(), 300u);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(items[i], "item " + std::to_string(i));
}

TEST_F(Tasks, AKilledSubmitterLeavesErrorsForThoseWhoWait) {
  int to_parent[2];
  ASSERT_EQ(pipe(to_parent), 0);
  const pid_t child = fork();
  if (child == 0) {
    AttachOptions options;
    options.socket_name = runtime.raylet->socket_name();
    options.token = testing::kToken;
    options.job = client->job();  // else its workers would end with its job
    std::unique_ptr<Client> own = std::move(Client::attach(options).value());
    Submitter doomed{*own, own->register_spec(testing::make_spec(*own))};
    get(*own, doomed.task("echo:warm"));
    ObjectId ids[2];
    ids[0] = doomed.task("sleep:400");  // claimed: finishes
    own->flush();
    os::sleep_ms(100);
    const ObjectId never = own->put_begin(8, 100).value().id;
    ids[1] = doomed.task("get", {&never, 1}, 1);  // waits for ever
    if (write(to_parent[1], ids, sizeof(ids)) != sizeof(ids)) _exit(1);
    os::sleep_ms(60'000);
    _exit(0);
  }
  ObjectId ids[2];
  ASSERT_EQ(read(to_parent[0], ids, sizeof(ids)), static_cast<ssize_t>(sizeof(ids)));
  for (const ObjectId& id : ids) ASSERT_TRUE(client->add_ref(id));
  client->subscribe(ids[0]);
  client->subscribe(ids[1]);
  client->flush();
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(get(*client, ids[0]), "slept");
  EXPECT_NE(get(*client, ids[1]).find("[object lost]"), std::string::npos);
  EXPECT_EQ(get(*client, submitter.task("echo:on")), "on");
  close(to_parent[0]);
  close(to_parent[1]);
}

}  // namespace
}  // namespace polyray

int main(int argc, char** argv) {
  return polyray::testing::tests_or_worker(argc, argv);
}
