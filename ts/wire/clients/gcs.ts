// SPDX-License-Identifier: Apache-2.0
// A client of the control service over gRPC, for the command line and other machines. Close it when done.

import type { MessageShape } from "@bufbuild/protobuf";
import type { Client } from "@grpc/grpc-js";
import { version } from "../../base/version.ts";
import {
  GcsService,
  type GetStatusResponseSchema,
  type ListActorsResponseSchema,
  type ListJobsResponseSchema,
} from "../gen/v1/gcs_pb.ts";
import { callUnary, openClient, protocol } from "../grpc.ts";

export class GcsClient {
  readonly #client: Client;
  readonly #caller = { version, protocolMin: protocol.min, protocolMax: protocol.max };

  constructor(
    readonly address: string,
    private readonly token: string,
    private readonly timeoutMs = 5000,
  ) {
    this.#client = openClient(address);
  }

  status(): Promise<MessageShape<typeof GetStatusResponseSchema>> {
    return callUnary(
      this.#client,
      this.address,
      GcsService,
      GcsService.method.getStatus,
      this.token,
      { caller: this.#caller },
      this.timeoutMs,
    );
  }

  listActors(): Promise<MessageShape<typeof ListActorsResponseSchema>> {
    return callUnary(
      this.#client,
      this.address,
      GcsService,
      GcsService.method.listActors,
      this.token,
      { caller: this.#caller },
      this.timeoutMs,
    );
  }

  listJobs(): Promise<MessageShape<typeof ListJobsResponseSchema>> {
    return callUnary(
      this.#client,
      this.address,
      GcsService,
      GcsService.method.listJobs,
      this.token,
      { caller: this.#caller },
      this.timeoutMs,
    );
  }

  async stop(): Promise<void> {
    await callUnary(
      this.#client,
      this.address,
      GcsService,
      GcsService.method.stop,
      this.token,
      { caller: this.#caller },
      this.timeoutMs,
    );
  }

  close(): void {
    this.#client.close();
  }
}
