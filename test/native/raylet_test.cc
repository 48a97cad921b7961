// SPDX-License-Identifier: Apache-2.0
// Goal: who may attach, what the service hears and says, how leases feel to clients, and that the raylet rests.
// Method: a real raylet with real clients and worker processes; raw frames where a client would never misbehave.
#include <dirent.h>

#include <fstream>
#include <random>

#include "raylet/peers.h"
#include "raylet/worker_table.h"
#include "raylet_support.h"
#include "store/slots.h"

namespace polyray {
namespace {

using namespace testing;

// --- attach --------------------------------------------------------------------------------------------------------

TEST(Attach, AWrongTokenIsRefusedWithItsCode) {
  auto raylet = bare_raylet();
  for (const std::string token : {"", "test-tokem", "test-token ", "t"}) {
    AttachOptions options = options_for(*raylet);
    options.token = token;
    EXPECT_EQ(Client::attach(options).status().code, StatusCode::kAuthentication) << token;
  }
  EXPECT_EQ(raylet->stats().endpoints, 0u);
  EXPECT_TRUE(Client::attach(options_for(*raylet)).is_ok());
}

TEST(Attach, AnotherPackageVersionIsRefusedAndBothAreNamed) {
  auto raylet = bare_raylet();
  AttachOptions options = options_for(*raylet);
  options.package_version = "1.2.4";
  const Status status = Client::attach(options).status();
  EXPECT_EQ(status.code, StatusCode::kVersionMismatch);
  EXPECT_NE(status.message.find("1.2.3"), std::string::npos) << status.message;
  EXPECT_NE(status.message.find("1.2.4"), std::string::npos) << status.message;
  options.package_version = "1.2.3";
  EXPECT_TRUE(Client::attach(options).is_ok());
}

TEST(Attach, WorkersNeedAStartupTokenDriversAJobThatLivesAndThereIsOneService) {
  auto raylet = bare_raylet();
  AttachOptions worker = options_for(*raylet, EndpointKind::kWorker);
  worker.startup_token = 99;
  EXPECT_EQ(Client::attach(worker).status().code, StatusCode::kNotFound);
  AttachOptions driver = options_for(*raylet);
  driver.job = 42;
  EXPECT_EQ(Client::attach(driver).status().code, StatusCode::kNotFound);
  auto service = Client::attach(options_for(*raylet, EndpointKind::kService));
  ASSERT_TRUE(service.is_ok());
  EXPECT_EQ(Client::attach(options_for(*raylet, EndpointKind::kService)).status().code,
            StatusCode::kAlreadyExists);
  service.value().reset();
  EXPECT_TRUE(
      soon([&] { return Client::attach(options_for(*raylet, EndpointKind::kService)).is_ok(); }));
}

TEST(Attach, ADriverOfThisProcessStartsTheFirstWorkerOfItsJobWithoutTheService) {
  auto raylet = bare_raylet();
  AttachOptions worker = options_for(*raylet, EndpointKind::kWorker);
  worker.startup_token = raylet::WorkerTable::kFirstToken;
  const auto tell = [](Client& driver, uint64_t job) {
    const std::vector<uint8_t> key = bytes_of("{}");
    driver.raylet_command(RayletOp::kPrestart, job | uint64_t{1} << 32, 0, 0, key);
    driver.flush();
  };
  const pid_t other = fork_client(*raylet, [&](Client& client) {
    tell(client, client.job());
    for (;;) pause();
  });
  auto driver = std::move(Client::attach(options_for(*raylet)).value());
  tell(*driver, driver->job() + 1);
  EXPECT_EQ(Client::attach(worker).status().code, StatusCode::kNotFound)
      << "neither for another job, nor from another process";
  tell(*driver, driver->job());
  auto first = Client::attach(worker);
  ASSERT_TRUE(first.is_ok()) << first.status().message;
  EXPECT_EQ(first.value()->job(), driver->job());
  EXPECT_EQ(Client::attach(worker).status().code, StatusCode::kNotFound) << "a token is used once";
  end_child(other);
}

TEST(Attach, ASecondEndpointJoinsItsJobAndTheJobEndsWithTheLast) {
  auto raylet = bare_raylet();
  auto first = Client::attach(options_for(*raylet));
  ASSERT_TRUE(first.is_ok());
  AttachOptions join = options_for(*raylet);
  join.job = first.value()->job();
  auto second = Client::attach(join);
  ASSERT_TRUE(second.is_ok()) << second.status().message;
  EXPECT_EQ(second.value()->job(), first.value()->job());
  first.value()->detach();
  EXPECT_TRUE(soon([&] { return raylet->stats().endpoints == 1; }));
  EXPECT_TRUE(Client::attach(join).is_ok()) << "the second still lives";
  second.value()->detach();
  EXPECT_TRUE(soon([&] { return raylet->stats().endpoints == 0; }));
  EXPECT_EQ(Client::attach(join).status().code, StatusCode::kNotFound);
}

TEST(Attach, GarbageOnTheSocketIsRefusedAndHarmsNobody) {
  auto raylet = bare_raylet();
  std::mt19937 random(11);
  for (int i = 0; i < 300; ++i) {
    Result<os::Fd> socket = os::connect_abstract(raylet->socket_name());
    ASSERT_TRUE(socket.is_ok());
    std::vector<uint8_t> bytes(random() % 200);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    if (bytes.size() >= sizeof(FrameHeader) && random() % 2 == 0) {  // past the first checks
      const FrameHeader header{kFrameMagic,
                               kFrameVersion,
                               static_cast<uint16_t>(random() % 9),
                               static_cast<uint32_t>(random() % 5),
                               static_cast<uint32_t>(bytes.size() - sizeof(FrameHeader)),
                               0};
      std::memcpy(bytes.data(), &header, sizeof header);
    }
    os::send_packet(socket.value().get(), bytes, {}, {}).is_ok();
  }
  EXPECT_TRUE(Client::attach(options_for(*raylet)).is_ok());
  EXPECT_TRUE(soon([&] { return raylet->stats().endpoints == 0; }));
}

TEST(Attach, EndpointNumbersAreUsedAgain) {
  auto raylet = bare_raylet();
  for (int round = 0; round < 20; ++round) {
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 10; ++i) {
      auto client = Client::attach(options_for(*raylet));
      ASSERT_TRUE(client.is_ok());
      EXPECT_LE(client.value()->endpoint(), 10u) << "round " << round;
      clients.push_back(std::move(client.value()));
    }
    clients.clear();
    ASSERT_TRUE(soon([&] { return raylet->stats().endpoints == 0; }));
  }
}

// --- rest ----------------------------------------------------------------------------------------------------------

int raylet_thread() {
  DIR* tasks = opendir("/proc/self/task");
  int found = 0;
  while (const dirent* entry = readdir(tasks)) {
    std::ifstream file("/proc/self/task/" + std::string(entry->d_name) + "/comm");
    std::string name;
    std::getline(file, name);
    if (name == "polyray-raylet") found = std::atoi(entry->d_name);
  }
  closedir(tasks);
  return found;
}

uint64_t sleeps_of(int thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("voluntary_ctxt_switches:", 0) == 0)
      return std::stoull(line.substr(line.find(':') + 1));
  return ~uint64_t{0};
}

TEST(Raylet, SleepsWhileNothingHappens) {
  auto raylet = bare_raylet();
  auto client = Client::attach(options_for(*raylet));
  ASSERT_TRUE(client.is_ok());
  const int thread = raylet_thread();
  ASSERT_NE(thread, 0);
  os::sleep_ms(100);
  const uint64_t before = sleeps_of(thread);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(client.value()->put(value_of("small"), {}).is_ok());
  os::sleep_ms(500);
  EXPECT_EQ(sleeps_of(thread), before) << "puts send no bell, and no timer runs";
}

TEST(Raylet, StatsAndStopWorkFromAnyThreadAndStopTwice) {
  auto raylet = bare_raylet();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n)
        EXPECT_EQ(raylet->stats().store_capacity_bytes, uint64_t{16} << 20);
    });
  }
  for (std::thread& thread : threads) thread.join();
  raylet->stop(0);
  raylet->stop(0);
  EXPECT_EQ(raylet->stats().store_capacity_bytes, uint64_t{16} << 20);
  EXPECT_EQ(Client::attach(options_for(*raylet)).status().code, StatusCode::kNotFound);
}

TEST(Raylet, ClientsAreToldOfTheEnd) {
  auto raylet = bare_raylet();
  auto client = Client::attach(options_for(*raylet));
  ASSERT_TRUE(client.is_ok());
  bool told = false;
  raylet->stop(0);
  run_until(
      *client.value(), [&] { return told; },
      [&](Event& event) { told = told || event.kind == EventKind::kShutdown; });
  EXPECT_TRUE(told);
}

// --- service -------------------------------------------------------------------------------------------------------

TEST(Service, RequestsFromBeforeItsTimeWaitAndAnswersFindTheirWay) {
  auto raylet = bare_raylet();
  auto driver = std::move(Client::attach(options_for(*raylet)).value());
  const uint32_t early = driver->service_request(bytes_of("early"));
  driver->flush();
  os::sleep_ms(20);
  auto service = std::move(Client::attach(options_for(*raylet, EndpointKind::kService)).value());
  bool joined = false;
  int calls = 0;
  ASSERT_TRUE(run_until(
      *service, [&] { return calls == 1 && joined; },
      [&](Event& event) {
        if (event.kind == EventKind::kRayletEvent)
          joined = joined || plain_text(event.payload).find("driver_joined") != std::string::npos;
        if (event.kind != EventKind::kServiceCall) return;
        ++calls;
        EXPECT_EQ(plain_text(event.payload), "early");
        EXPECT_EQ(static_cast<uint32_t>(event.peer), driver->endpoint());
        EXPECT_EQ(static_cast<uint32_t>(event.peer >> 32), driver->serial());
        service->service_reply(event.peer, event.a, bytes_of("answer"));
        service->service_push(~uint64_t{0}, 7, bytes_of("to all"));
      }));
  service->flush();
  bool answered = false, pushed = false;
  ASSERT_TRUE(run_until(
      *driver, [&] { return answered && pushed; },
      [&](Event& event) {
        if (event.kind == EventKind::kServiceAnswer) {
          answered = true;
          EXPECT_EQ(event.a, early);
          EXPECT_EQ(plain_text(event.payload), "answer");
        }
        if (event.kind == EventKind::kPush) {
          pushed = true;
          EXPECT_EQ(event.a, 7u);
          EXPECT_EQ(plain_text(event.payload), "to all");
        }
      }));
}

TEST(Service, ManyMessagesBothWaysKeepTheirOrderAndLeakNoRecords) {
  auto raylet = bare_raylet();
  auto driver = std::move(Client::attach(options_for(*raylet)).value());
  auto service = std::move(Client::attach(options_for(*raylet, EndpointKind::kService)).value());
  constexpr uint32_t kCount = 5000;
  uint32_t calls = 0;
  std::atomic<uint32_t> answers{0};
  std::thread serving([&] {
    run_until(
        *service, [&] { return answers == kCount; },
        [&](Event& event) {
          if (event.kind != EventKind::kServiceCall) return;
          EXPECT_EQ(plain_text(event.payload), std::to_string(calls));
          ++calls;
          service->service_reply(event.peer, event.a, event.payload);
        });
  });
  for (uint32_t i = 0; i < kCount; ++i) driver->service_request(bytes_of(std::to_string(i)));
  EXPECT_TRUE(run_until(
      *driver, [&] { return answers == kCount; },
      [&](Event& event) {
        if (event.kind != EventKind::kServiceAnswer) return;
        EXPECT_EQ(plain_text(event.payload), std::to_string(answers));
        ++answers;
      }));
  serving.join();
  // Every record slot that the raylet used was given back.
  uint64_t used = 0;
  for_each_slot(driver->segment(), ChunkKind::kRecords, kRayletEndpoint + 1,
                [&](uint64_t) { ++used; });
  EXPECT_LT(used, 8u);
}

TEST(Service, MessagesOfAnySizeArriveWhole) {
  auto raylet = bare_raylet();
  auto service = std::move(Client::attach(options_for(*raylet, EndpointKind::kService)).value());
  std::vector<std::unique_ptr<Client>> drivers;
  for (int i = 0; i < 2; ++i)
    drivers.push_back(std::move(Client::attach(options_for(*raylet)).value()));
  const size_t sizes[] = {0, 60 * 1024, 64 * 1024, 64 * 1024 + 1, 120 * 1024, 1'000'000};
  const auto text_for = [](size_t size, char of) { return std::string(size, of); };
  for (size_t i = 0; i < std::size(sizes); ++i) {  // two askers at once, their pieces interleaved
    drivers[0]->service_request(bytes_of(text_for(sizes[i], 'a')));
    drivers[1]->service_request(bytes_of(text_for(sizes[i], 'b')));
  }
  for (auto& driver : drivers) driver->flush();
  size_t calls = 0;
  ASSERT_TRUE(run_until(
      *service, [&] { return calls == 2 * std::size(sizes); },
      [&](Event& event) {
        if (event.kind != EventKind::kServiceCall) return;
        ++calls;
        const char of = static_cast<uint32_t>(event.peer) == drivers[0]->endpoint() ? 'a' : 'b';
        EXPECT_EQ(plain_text(event.payload), text_for(event.payload.size(), of));
        service->service_reply(event.peer, event.a, event.payload);
      }));
  service->service_push(~uint64_t{0}, 7, bytes_of(text_for(200'000, 'p')));
  service->flush();
  for (size_t at = 0; at < drivers.size(); ++at) {
    size_t answers = 0, pushed = 0;
    EXPECT_TRUE(run_until(
        *drivers[at], [&] { return answers == std::size(sizes) && pushed == 1; },
        [&](Event& event) {
          const std::string text = plain_text(event.payload);
          if (event.kind == EventKind::kPush) pushed += text == text_for(200'000, 'p');
          if (event.kind == EventKind::kServiceAnswer)
            answers += text == text_for(sizes[event.a - 1], at == 0 ? 'a' : 'b');
        }));
  }
}

TEST(Service, AnActorWithoutHandlesIsReported) {
  auto raylet = bare_raylet();
  auto service = std::move(Client::attach(options_for(*raylet, EndpointKind::kService)).value());
  auto driver = std::move(Client::attach(options_for(*raylet)).value());
  const ObjectId kept = driver->create_actor_object().value();
  const ObjectId dropped = driver->create_actor_object().value();
  driver->release_ref(dropped);
  driver->flush();
  std::vector<ObjectId> gone;
  const auto on_event = [&](Event& event) {
    if (event.kind == EventKind::kActorGone) gone.push_back(event.id);
  };
  ASSERT_TRUE(run_until(
      *service,
      [&] {
        driver->service_request({});
        driver->flush();
        return gone.size() == 1;
      },
      on_event));
  EXPECT_EQ(gone[0], dropped);
  driver->detach();
  ASSERT_TRUE(run_until(*service, [&] { return gone.size() == 2; }, on_event));
  EXPECT_EQ(gone[1], kept) << "its only handle died with the driver";
}

// --- leases --------------------------------------------------------------------------------------------------------

TEST(Leases, NestedGetsThreeDeepRunOnOneCpu) {
  TestRuntime runtime(1);
  auto client = runtime.attach();
  Submitter submitter{*client, client->register_spec(make_spec(*client))};
  const ObjectId ids[] = {submitter.task("nested:a"), submitter.task("nested:b"),
                          submitter.task("nested:c")};
  EXPECT_EQ(get(*client, ids[0]), "nested a");
  EXPECT_EQ(get(*client, ids[1]), "nested b");
  EXPECT_EQ(get(*client, ids[2]), "nested c");
}

TEST(Leases, AWorkerThatStartsAndNeverJoinsFailsWhoeverWaitsForIt) {
  auto raylet = bare_raylet(16 << 20, 2, 100);
  auto service = std::move(Client::attach(options_for(*raylet, EndpointKind::kService)).value());
  auto driver = std::move(Client::attach(options_for(*raylet)).value());
  Submitter submitter{*driver, driver->register_spec(make_spec(*driver))};
  const ObjectId id = submitter.task("echo:x");
  driver->flush();
  pid_t child = 0;
  ASSERT_TRUE(run_until(
      *service, [&] { return child != 0; },
      [&](Event& event) {
        const std::string json = plain_text(event.payload);
        const size_t at = json.find("\"startupToken\":");
        if (event.kind != EventKind::kRayletEvent || at == std::string::npos) return;
        child = fork();
        if (child == 0) {
          setsid();
          pause();
        }
        service->raylet_command(RayletOp::kWorkerStarted,
                                std::strtoull(json.c_str() + at + 15, nullptr, 10), child, 0, {});
      }));
  service->flush();
  const std::string text = get(*driver, id);
  EXPECT_EQ(driver->status(id), ObjectStatus::kError);
  EXPECT_NE(text.find("did not join within 100 ms"), std::string::npos) << text;
  end_child(child);
}

TEST(Leases, TwoDriversShareOneCpu) {
  TestRuntime runtime(1);
  auto first = runtime.attach();
  auto second = runtime.attach();
  std::atomic<int> running{2};
  const auto drive = [&](Client& client) {
    Submitter submitter{client, client.register_spec(make_spec(client))};
    std::vector<ObjectId> ids;
    for (int i = 0; i < 100; ++i) ids.push_back(submitter.task("sleep:1"));
    EXPECT_TRUE(wait_all(client, ids));
    // Poll on until the other is done too: a lease is given back in poll.
    --running;
    run_until(client, [&] { return running == 0; }, [](Event&) {});
  };
  std::thread thread([&] { drive(*first); });
  drive(*second);
  thread.join();
}

TEST(Leases, WhatTheNodeCanNeverDoFailsWithTheMissingResource) {
  TestRuntime runtime(1);
  auto client = runtime.attach();
  Submitter submitter{*client, client->register_spec(make_spec(*client, 3 * kResourceUnit))};
  const ObjectId id = submitter.task("echo:x");
  const std::string text = get(*client, id);
  EXPECT_EQ(client->status(id), ObjectStatus::kError);
  EXPECT_NE(text.find("CPU"), std::string::npos) << text;
}

TEST(Raylet, TakesPayloadsOnlyFromUsedSlotsOfTheSender) {
  SegmentOptions options;
  options.data_bytes = 1 << 20;
  options.max_chunks = 5;  // they do not fill the region
  const std::unique_ptr<Segment> segment = std::move(Segment::create(options).value());
  raylet::Peers peers(*segment);
  raylet::Peer sender;
  sender.endpoint = 3;
  SlotPool own(*segment, ChunkKind::kRecords, 3), foreign(*segment, ChunkKind::kRecords, 4);
  const uint64_t good = own.allocate(300).value();
  const uint64_t stranger = foreign.allocate(300).value();
  for (const uint64_t wild :
       {uint64_t{0}, segment->header().chunks_offset - 128, segment->control_bytes() - 128,
        segment->control_bytes(), ~uint64_t{0} - 127, good + 8, good + 512, stranger})
    EXPECT_FALSE(peers.take_payload(sender, wild, 8).has_value()) << wild;
  EXPECT_FALSE(peers.take_payload(sender, good, 513).has_value()) << "larger than the slot";
  EXPECT_EQ(peers.take_payload(sender, good, 300)->size(), 300u);
  EXPECT_FALSE(peers.take_payload(sender, good, 300).has_value()) << "it is taken";
}

}  // namespace
}  // namespace polyray

int main(int argc, char** argv) {
  return polyray::testing::tests_or_worker(argc, argv);
}
