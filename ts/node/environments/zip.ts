// SPDX-License-Identifier: Apache-2.0
// Reads zip archives (wheels are zips too): the central directory, stored and deflated entries. Nothing is trusted: names
// that would leave the target folder are refused. Errors are plain Errors; the caller names the step.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, normalize, sep } from "node:path";
import { inflateRawSync } from "node:zlib";

const endMark = 0x06054b50;
const entryMark = 0x02014b50;

function endRecord(bytes: Buffer): number {
  for (let at = bytes.length - 22; at >= 0 && at > bytes.length - 65_600; at--)
    if (bytes.readUInt32LE(at) === endMark) return at;
  throw new Error("it is not a zip archive");
}

/** Unpacks `file` into `folder`; gives the number of files. */
export function extractZip(file: string, folder: string): number {
  const bytes = readFileSync(file);
  const end = endRecord(bytes);
  const count = bytes.readUInt16LE(end + 10);
  let at = bytes.readUInt32LE(end + 16);
  let made = 0;
  for (let i = 0; i < count; i++) {
    if (bytes.readUInt32LE(at) !== entryMark) throw new Error("its directory is damaged");
    const nameLength = bytes.readUInt16LE(at + 28);
    const name = bytes.toString("utf8", at + 46, at + 46 + nameLength);
    if (!name.endsWith("/")) {
      const target = safeJoin(folder, name);
      const mode = (bytes.readUInt32LE(at + 38) >>> 16) & 0o777;
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, content(bytes, at), { mode: mode === 0 ? 0o644 : mode | 0o600 });
      made += 1;
    }
    at += 46 + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return made;
}

function safeJoin(folder: string, name: string): string {
  const path = normalize(name);
  if (path.startsWith("..") || path.startsWith(sep)) throw new Error(`it holds the path ${name}`);
  return join(folder, path);
}

function content(bytes: Buffer, entry: number): Buffer {
  const method = bytes.readUInt16LE(entry + 10);
  const packed = bytes.readUInt32LE(entry + 20);
  const local = bytes.readUInt32LE(entry + 42);
  const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
  const data = bytes.subarray(start, start + packed);
  if (method === 0) return data;
  if (method === 8) return inflateRawSync(data);
  throw new Error(`it uses compression method ${method}`);
}
