// SPDX-License-Identifier: Apache-2.0
// Goal: actor calls keep their order and settle exactly once, whatever stops, dies or floods.
// Method: dedicated worker processes made by the TestRuntime's service (client_support.h); the test plays the control
// service towards the callers (set_actor_state).
#include "client_support.h"

namespace polyray {
namespace {

using testing::get;
using testing::read_text;
using testing::run_until;
using testing::TestRuntime;
using testing::value_of;
using testing::wait_all;
using ActorProcess = TestRuntime::ActorProcess;

struct Actors : ::testing::Test {
  TestRuntime runtime{4};
  std::unique_ptr<Client> client = runtime.attach();

  static void alive(Client& at, const ActorProcess& actor, int32_t retries = 0) {
    at.set_actor_state(actor.id, ActorPhase::kAlive, actor.peer, actor.incarnation, retries, {});
  }
  static ObjectId call(Client& at, const ActorProcess& actor, std::string_view command,
                       std::span<const ObjectId> refs = {}, uint32_t top = 0, int32_t retries = -2,
                       uint64_t deadline_ms = 0) {
    const auto envelope = value_of(command, refs);
    CallArguments arguments;
    arguments.method = command.substr(0, command.find(':'));
    arguments.envelope = envelope;
    arguments.refs = refs;
    arguments.top_refs = top;
    arguments.max_retries = retries;
    arguments.deadline_ms = deadline_ms;
    ObjectId id;
    const Status status = at.submit_actor_call(actor.id, arguments, &id);
    EXPECT_TRUE(status.is_ok()) << status.message;
    return id;
  }
  pid_t pid_of(const ActorProcess& actor) {
    return std::stoi(get(*client, call(*client, actor, "pid")));
  }
};

TEST_F(Actors, TenThousandCallsRunInOrder) {
  const ActorProcess actor = runtime.make_actor(*client);
  std::vector<ObjectId> ids;
  for (int i = 0; i < 5000; ++i)
    ids.push_back(call(*client, actor, "count"));  // the actor is not known to live yet
  EXPECT_EQ(client->actor_pending_calls(actor.id), 5000u);
  alive(*client, actor);
  for (int i = 0; i < 5000; ++i) ids.push_back(call(*client, actor, "count"));
  ASSERT_TRUE(wait_all(*client, ids, {}, 120'000));
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(read_text(*client, ids[i]), std::to_string(i + 1));
  EXPECT_EQ(client->actor_pending_calls(actor.id), 0u);
}

TEST_F(Actors, ACallWithUnreadyArgumentsHoldsTheLaterOnesBack) {
  const ActorProcess actor = runtime.make_actor(*client);
  alive(*client, actor);
  PutBuffer later = client->put_begin(40, 1000).value();
  const ObjectId waits_for = later.id;
  call(*client, actor, "append:a");
  call(*client, actor, "append:b", {&waits_for, 1}, 1);
  const ObjectId last = call(*client, actor, "append:c");
  EXPECT_FALSE(wait_all(*client, {&last, 1}, {}, 100));
  ASSERT_TRUE(client->put_seal(later, {}).is_ok());
  client->flush();
  EXPECT_EQ(get(*client, last), "a,b,c,");
}

TEST_F(Actors, TwoActorsThatFloodEachOtherBothFinish) {
  const ActorProcess one = runtime.make_actor(*client);
  const ActorProcess two = runtime.make_actor(*client);
  alive(*client, one);
  alive(*client, two);
  const auto flood = [](const ActorProcess& at) {
    return "flood:" + std::to_string(static_cast<uint32_t>(at.peer)) + ":" +
           std::to_string(at.peer >> 32) + ":3000";
  };
  const ObjectId ids[2] = {call(*client, one, flood(two), {&two.id, 1}),
                           call(*client, two, flood(one), {&one.id, 1})};
  const ObjectId ends[2] = {call(*client, one, "flooded"), call(*client, two, "flooded")};
  ASSERT_TRUE(wait_all(*client, ends, {}, 120'000));
  ASSERT_TRUE(wait_all(*client, ids));
  for (const ObjectId& id : ids) EXPECT_EQ(read_text(*client, id), "3000");
}

TEST_F(Actors, AStoppedCallerHoldsNobodyUpAndGetsEverythingLater) {
  const ActorProcess actor = runtime.make_actor(*client);
  alive(*client, actor);
  int from_child[2];
  ASSERT_EQ(pipe(from_child), 0);
  const pid_t child = fork();
  if (child == 0) {
    AttachOptions options;
    options.socket_name = runtime.raylet->socket_name();
    options.token = testing::kToken;
    options.job = client->job();
    std::unique_ptr<Client> own = std::move(Client::attach(options).value());
    own->add_ref(actor.id);
    alive(*own, actor);
    std::vector<ObjectId> ids;
    for (int i = 0; i < 3000; ++i) ids.push_back(call(*own, actor, "echo:" + std::to_string(i)));
    own->flush();
    // Until the ring has taken them all; then stop with the replies on their way.
    std::vector<Event> events;
    while (own->call_peer(ids.back()) == 0) own->poll(events, 1);
    raise(SIGSTOP);
    bool good = wait_all(*own, ids, {}, 60'000);
    for (int i = 0; i < 3000 && good; ++i) good = read_text(*own, ids[i]) == std::to_string(i);
    const char verdict = good ? 'y' : 'n';
    _exit(write(from_child[1], &verdict, 1) == 1 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  for (int i = 0; i < 500; ++i) ASSERT_EQ(get(*client, call(*client, actor, "echo:on")), "on");
  kill(child, SIGCONT);
  char verdict = 0;
  ASSERT_EQ(read(from_child[0], &verdict, 1), 1);
  EXPECT_EQ(verdict, 'y');
  waitpid(child, &status, 0);
}

TEST_F(Actors, AfterARestartClaimedCallsFailAndUnclaimedOnesRunInOrder) {
  ActorProcess actor = runtime.make_actor(*client);
  alive(*client, actor);
  const pid_t pid = pid_of(actor);
  kill(pid, SIGSTOP);
  std::vector<ObjectId> ids;
  for (int i = 0; i < 10; ++i) ids.push_back(call(*client, actor, "append:" + std::to_string(i)));
  client->flush();
  kill(pid, SIGKILL);
  bool gone = false;
  ASSERT_TRUE(run_until(
      *client, [&] { return gone; },
      [&](Event& e) { gone |= e.kind == EventKind::kPeerGone && e.peer == actor.peer; }));
  client->set_actor_state(actor.id, ActorPhase::kRestarting, 0, 1, 0, {});
  ActorProcess next = runtime.make_actor(*client, 2, actor.id);
  alive(*client, next);
  const ObjectId last = call(*client, next, "append:last");
  EXPECT_EQ(get(*client, last), "0,1,2,3,4,5,6,7,8,9,last,");
}

TEST_F(Actors, ACallThatRanWhenItsActorDiedFailsOrIsSentAgainFirst) {
  for (const int32_t retries : {0, 2}) {
    SCOPED_TRACE(retries);
    ActorProcess actor = runtime.make_actor(*client);
    alive(*client, actor, retries);
    const ObjectId dies = call(*client, actor, "dieonce");
    const ObjectId after = call(*client, actor, "append:after");
    client->flush();
    bool gone = false;
    ASSERT_TRUE(run_until(
        *client, [&] { return gone; },
        [&](Event& e) { gone |= e.kind == EventKind::kPeerGone && e.peer == actor.peer; }));
    client->set_actor_state(actor.id, ActorPhase::kRestarting, 0, 1, retries, {});
    ActorProcess next = runtime.make_actor(*client, 2, actor.id);
    alive(*client, next, retries);
    const std::string text = get(*client, dies);
    if (retries == 0)
      EXPECT_NE(text.find("[actor unavailable]"), std::string::npos) << text;
    else
      EXPECT_EQ(text, "attempt 1");
    // The binding hands out calls one by one, so what stood behind the deadly call was claimed or not; it settles anyway.
    EXPECT_NE(get(*client, after), "(timeout)");
  }
}

TEST_F(Actors, TheDeathOfAnActorFailsItsCallsWithTheGivenError) {
  const ActorProcess actor = runtime.make_actor(*client);
  alive(*client, actor);
  const ObjectId dies = call(*client, actor, "die");
  client->flush();
  bool gone = false;
  ASSERT_TRUE(run_until(
      *client, [&] { return gone; },
      [&](Event& e) { gone |= e.kind == EventKind::kPeerGone && e.peer == actor.peer; }));
  const auto error =
      error_envelope({.code = StatusCode::kActorDied, .message = "the story of its death"});
  client->set_actor_state(actor.id, ActorPhase::kDead, 0, 1, 0, error);
  EXPECT_NE(get(*client, dies).find("the story of its death"), std::string::npos);
  EXPECT_NE(get(*client, call(*client, actor, "echo:x")).find("the story of its death"),
            std::string::npos);
}

TEST_F(Actors, AnActorRefusesCallsOfAnotherIncarnation) {
  ActorProcess actor = runtime.make_actor(*client);
  actor.incarnation = 7;
  alive(*client, actor);
  const ObjectId id = call(*client, actor, "echo:x");
  EXPECT_FALSE(wait_all(*client, {&id, 1}, {}, 200));
  EXPECT_EQ(client->status(id), ObjectStatus::kPending);
  EXPECT_EQ(client->actor_pending_calls(actor.id), 1u);
}

TEST_F(Actors, AMethodThatAsksForARetryIsSentAgainAsOftenAsTheCallerAllows) {
  const ActorProcess actor = runtime.make_actor(*client);
  alive(*client, actor, 1);
  EXPECT_EQ(get(*client, call(*client, actor, "retry:5")), "attempt 1") << "the actor's own limit";
  EXPECT_EQ(get(*client, call(*client, actor, "retry:5", {}, 0, 3)), "attempt 3");
  EXPECT_EQ(get(*client, call(*client, actor, "retry:5", {}, 0, 0)), "attempt 0");
  EXPECT_EQ(get(*client, call(*client, actor, "retry:5", {}, 0, -1)), "attempt 5") << "for ever";
}

TEST_F(Actors, ACallPastItsDeadlineIsGivenUpAndTheActorGoesOn) {
  const ActorProcess actor = runtime.make_actor(*client);
  const auto limited = [&](std::string_view command) {
    return call(*client, actor, command, {}, 0, 0, os::now_ms() + 50);
  };
  const ObjectId early = limited("echo:never");  // nobody says that the actor lives
  EXPECT_NE(get(*client, early).find("[task timeout]"), std::string::npos);
  alive(*client, actor);
  const ObjectId late = limited("sleep:1200");
  EXPECT_NE(get(*client, late).find("[task timeout]"), std::string::npos);
  EXPECT_EQ(get(*client, call(*client, actor, "echo:on")), "on");
  EXPECT_EQ(client->actor_pending_calls(actor.id), 0u);
}

TEST_F(Actors, ManyCallersEachKeepTheirOwnOrder) {
  const ActorProcess actor = runtime.make_actor(*client);
  std::vector<std::unique_ptr<Client>> callers;
  std::vector<std::vector<ObjectId>> ids(8);
  for (int c = 0; c < 8; ++c) {
    callers.push_back(runtime.attach(EndpointKind::kDriver, client->job()));
    alive(*callers.back(), actor);
  }
  for (int i = 0; i < 300; ++i)
    for (int c = 0; c < 8; ++c) ids[c].push_back(call(*callers[c], actor, "count"));
  for (int c = 0; c < 8; ++c) callers[c]->flush();
  for (int c = 0; c < 8; ++c) {
    ASSERT_TRUE(wait_all(*callers[c], ids[c]));
    int last = 0;
    for (const ObjectId& id : ids[c]) {
      const int now = std::stoi(read_text(*callers[c], id));
      EXPECT_GT(now, last);
      last = now;
    }
  }
}

}  // namespace
}  // namespace polyray

int main(int argc, char** argv) {
  return polyray::testing::tests_or_worker(argc, argv);
}
