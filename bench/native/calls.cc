// SPDX-License-Identifier: Apache-2.0
// How many calls a second the native core carries: a C++ driver and C++ workers over a real raylet, no language on top.
//
// Rows: submit alone (no waiting), one task at a time, many tasks, one actor call at a time, many actor calls, small puts.
// Run: calls [seconds per row]. Prints one line per row. Not a test: it asserts nothing.
#include <cstdio>

#include "../../test/native/client_support.h"

namespace polyray {
namespace {

using testing::run_until;
using testing::TestRuntime;
using testing::value_of;
using testing::wait_all;

double seconds_per_row = 1;

class Row {
 public:
  explicit Row(const char* name) : name_(name), start_ns_(os::now_ns()) {}
  bool more() const {
    return static_cast<double>(os::now_ns() - start_ns_) < seconds_per_row * 1e9;
  }
  void done(uint64_t count) {
    const double seconds = static_cast<double>(os::now_ns() - start_ns_) / 1e9;
    printf("%-44s %12.0f /s %10.3f us\n", name_, static_cast<double>(count) / seconds,
           seconds * 1e6 / static_cast<double>(count));
    fflush(stdout);
  }

 private:
  const char* name_;
  uint64_t start_ns_;
};

// Waits for one object without the maps of the test's helper.
void wait_one(Client& client, const ObjectId& id, std::vector<Event>& events) {
  if (client.subscribe(id) != ObjectStatus::kPending) return;
  client.flush();
  for (;;) {
    events.clear();
    client.poll(events, 64);
    for (const Event& event : events)
      if (event.kind == EventKind::kObjectReady && event.id == id) return;
    if (events.empty() && client.arm(kArmedFutex)) client.wait_doorbell(100);
  }
}

template <class Submit>
void sync_row(const char* name, Client& client, Submit submit) {
  std::vector<Event> events;
  Row row(name);
  uint64_t count = 0;
  while (row.more()) {
    const ObjectId id = submit();
    wait_one(client, id, events);
    client.release_ref(id);
    ++count;
  }
  row.done(count);
}

template <class Submit>
void batch_row(const char* name, Client& client, size_t batch, Submit submit) {
  std::vector<ObjectId> ids(batch);
  std::vector<Event> events;
  uint64_t count = 0;
  uint64_t submit_ns = 0;
  Row row(name);
  while (row.more()) {
    const uint64_t from = os::now_ns();
    for (ObjectId& id : ids) id = submit();
    client.flush();
    submit_ns += os::now_ns() - from;
    for (const ObjectId& id : ids) wait_one(client, id, events);
    for (const ObjectId& id : ids) client.release_ref(id);
    count += batch;
  }
  row.done(count);
  printf("    of which submitting %35.3f us each\n",
         static_cast<double>(submit_ns) / 1e3 / static_cast<double>(count));
}

void run() {
  TestRuntime runtime(2, 256 << 20);
  auto client = runtime.attach();
  const uint32_t spec = client->register_spec(testing::make_spec(*client));
  const auto envelope = value_of("echo:x");
  CallArguments arguments;
  arguments.envelope = envelope;
  const auto task = [&] {
    ObjectId id;
    static_cast<void>(client->submit_task(spec, arguments, &id));
    return id;
  };
  std::vector<Event> events;
  wait_one(*client, task(), events);

  {
    Row row("put 20 bytes and release");
    uint64_t count = 0;
    for (; row.more(); ++count) client->release_ref(client->put({envelope.data(), 20}, {}).value());
    row.done(count);
  }
  {
    const std::vector<uint8_t> kilobyte(1024, 1);
    Row row("put 1 KiB and release");
    uint64_t count = 0;
    for (; row.more(); ++count) {
      client->release_ref(client->put(kilobyte, {}).value());
      if (count % 64 == 0) client->flush();
    }
    row.done(count);
  }
  sync_row("task, one at a time", *client, task);
  batch_row("tasks, 100 in flight", *client, 100, task);
  batch_row("tasks, 1000 in flight", *client, 1000, task);
  const auto actor = runtime.make_actor(*client);
  client->set_actor_state(actor.id, ActorPhase::kAlive, actor.peer, 1, 0, {});
  CallArguments call = arguments;
  call.method = "echo";
  const auto submit = [&] {
    ObjectId id;
    static_cast<void>(client->submit_actor_call(actor.id, call, &id));
    return id;
  };
  sync_row("actor call, one at a time", *client, submit);
  batch_row("actor calls, 100 in flight", *client, 100, submit);
  batch_row("actor calls, 1000 in flight", *client, 1000, submit);
}

}  // namespace
}  // namespace polyray

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--worker") return polyray::testing::worker_main(argv);
  if (argc > 1) polyray::seconds_per_row = std::strtod(argv[1], nullptr);
  polyray::run();
  return 0;
}
