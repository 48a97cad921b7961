// SPDX-License-Identifier: Apache-2.0
// Goal: a worker is in exactly one state, and is shared only inside its pool.
// Method: each arrow of docs/states/worker.md, validate() after each.
#include "raylet/worker_table.h"

#include <gtest/gtest.h>

namespace polyray::raylet {
namespace {

const PoolKey kPool{1, 1, "{}"};

TEST(WorkerTable, AWorkerComesInByItsTokenOnce) {
  WorkerTable table;
  const uint64_t token = table.start(kPool, 5, ResourceSet(), false);
  EXPECT_EQ(table.starting(kPool), 1u);
  EXPECT_TRUE(table.attach(token, 3, 30));
  EXPECT_FALSE(table.attach(token, 4, 40)) << "a token is used once";
  EXPECT_FALSE(table.attach(token + 1, 4, 40)) << "an unknown token";
  EXPECT_EQ(table.by_endpoint(3)->token, token);
  EXPECT_EQ(table.validate(), "");
}

TEST(WorkerTable, TheFirstWorkerHasATokenOfItsOwnAndIsStartedOnce) {
  WorkerTable table;
  EXPECT_NE(table.start(kPool, 5, ResourceSet(), false), WorkerTable::kFirstToken);
  EXPECT_FALSE(table.attach(WorkerTable::kFirstToken, 3, 30)) << "nobody said that it comes";
  EXPECT_TRUE(table.start_first(kPool));
  EXPECT_EQ(table.starting(kPool), 2u);
  EXPECT_TRUE(table.attach(WorkerTable::kFirstToken, 3, 30));
  EXPECT_EQ(table.validate(), "");
  table.remove(WorkerTable::kFirstToken);
  EXPECT_FALSE(table.start_first(kPool)) << "its token was used";
}

TEST(WorkerTable, IdleWorkersAreFoundOnlyInTheirPoolAndTheWarmestFirst) {
  WorkerTable table;
  for (uint32_t endpoint = 1; endpoint <= 3; ++endpoint) {
    const uint64_t token =
        table.start(endpoint == 3 ? PoolKey{1, 2, "{}"} : kPool, 5, ResourceSet(), false);
    table.attach(token, endpoint, endpoint);
    table.make_idle(*table.by_token(token), endpoint * 10);
  }
  EXPECT_EQ(table.idle(kPool)->endpoint, 2u);
  EXPECT_EQ(table.idle({1, 2, "{}"})->endpoint, 3u);
  EXPECT_EQ(table.idle({2, 1, "{}"}), nullptr) << "another job";
  EXPECT_EQ(table.idle({1, 1, "{\"env\":1}"}), nullptr) << "another environment";
  EXPECT_EQ(table.oldest_idle()->endpoint, 1u);
  EXPECT_EQ(table.validate(), "");
}

TEST(WorkerTable, LeasedLeavingAndGoneWorkersAreNotIdle) {
  WorkerTable table;
  const uint64_t token = table.start(kPool, 5, ResourceSet(), false);
  table.attach(token, 9, 1);
  Worker& worker = *table.by_token(token);
  table.make_idle(worker, 1);
  table.lease(worker, 4, false);
  EXPECT_EQ(table.idle(kPool), nullptr);
  EXPECT_EQ(table.validate(), "");
  table.make_idle(worker, 2);
  EXPECT_EQ(worker.lease, 0u);
  table.leave(worker);
  EXPECT_EQ(table.idle(kPool), nullptr);
  table.make_idle(worker, 3);
  EXPECT_EQ(table.idle(kPool), nullptr) << "who leaves does not come back";
  EXPECT_EQ(table.validate(), "");
  table.remove(token);
  EXPECT_EQ(table.by_endpoint(9), nullptr);
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.validate(), "");
}

TEST(WorkerTable, ADedicatedWorkerDoesNotCountForItsPool) {
  WorkerTable table;
  const uint64_t token = table.start(kPool, 5, ResourceSet(), true);
  table.attach(token, 9, 1);
  EXPECT_EQ(table.pool_size(kPool), 1u);
  table.make_idle(*table.by_token(token), 1);
  table.lease(*table.by_token(token), 2, true);
  EXPECT_EQ(table.pool_size(kPool), 0u);
  EXPECT_STREQ(worker_state_name(table.by_token(token)->state), "DEDICATED");
}

}  // namespace
}  // namespace polyray::raylet
