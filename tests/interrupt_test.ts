/** What is left when `afpq` is stopped: by Ctrl-C, SIGTERM, kill -9 at any point, a full disk. */
import assert from "node:assert/strict";
import { type ChildProcess, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { writeSafetensors } from "../lib/safetensors_writer.ts";
import { verifyCheckpoint } from "../lib/verify_checkpoint.ts";
import { afpq, thisRuntime } from "./afpq_process.ts";
import { HELDOUT, TINY } from "./golden_windows.ts";
import { type At, CONFIG, folderHashes, inFolder, weights } from "./made_checkpoints.ts";
import { noPackage } from "./made_tokenizers.ts";
import { testUnless } from "./test_unless.ts";

/** Bun ends a test after 5 s unless told. */
const slow = { timeout: 120_000 };

/** A model that takes some tenths of a second, so that there is time to stop. */
async function makeSlowModel(at: At): Promise<void> {
  await mkdir(at("m"));
  const one = await weights("x", [512, 2048]).bytes!();
  const tensors = Array.from({ length: 16 }, (_, i) => ({
    ...weights(`model.layers.${i}.mlp.up_proj.weight`, [512, 2048]),
    bytes: () => one,
  }));
  await writeSafetensors(at("m", "model.safetensors"), tensors);
  await writeFile(at("m", "config.json"), CONFIG);
}

/** Sends a signal by pid: after `child.kill()` Deno tells that signal, whatever the end was. */
function stop(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.exitCode === null && child.signalCode === null) process.kill(child.pid!, signal);
}

/** Sends signals once the partial folder is there. */
function whenWriting(at: At, ...signals: NodeJS.Signals[]) {
  return async (child: ChildProcess) => {
    while (child.exitCode === null && !(await readdir(at())).some((name) => /partial/.test(name))) {
      await after(2);
    }
    for (const signal of signals) stop(child, signal);
  };
}

const stops: [signals: NodeJS.Signals[], code: number][] = [
  [["SIGINT"], 130],
  [["SIGTERM"], 143],
  [["SIGINT", "SIGINT"], 130],
];

for (const [signals, code] of stops) {
  test(
    `${signals.join(" and ")} ends with ${code}, and nothing half-written is left`,
    slow,
    () =>
      inFolder(async (at) => {
        await makeSlowModel(at);
        const ended = await afpq(["quantize", at("m"), "-o", at("q"), "--json"], {
          onStart: whenWriting(at, ...signals),
        });
        assert.deepEqual([ended.code, ended.stdout], [code, ""], ended.stderr);
        assert.deepEqual(await readdir(at()), ["m"]);
        assert.ok(ended.stderr.split("\n").length <= 2, ended.stderr);
      }),
  );
}

test("Ctrl-C while dequantising leaves nothing either", slow, () =>
  inFolder(async (at) => {
    await makeSlowModel(at);
    await afpq(["quantize", at("m"), "-o", at("q"), "-q"]);
    const { code } = await afpq(["dequantize", at("q"), "-o", at("d")], {
      onStart: whenWriting(at, "SIGINT"),
    });
    assert.equal(code, 130);
    assert.deepEqual((await readdir(at())).sort(), ["m", "q"]);
  }));

testUnless(
  noPackage,
  "Ctrl-C ends a score in plain TypeScript",
  async () => {
    const args = ["eval", TINY, "--text", HELDOUT, "--windows", "60", "--binding", "cpu"];
    // nothing tells when it has begun: a signal that comes before is told by no exit code
    for (const seconds of [2, 4, 8, 16]) {
      const { code, signal } = await afpq(args, {
        onStart: (child) => void setTimeout(() => stop(child, "SIGINT"), 1000 * seconds),
      });
      if (signal !== null) continue;
      assert.equal(code, 130);
      return;
    }
    assert.fail("it never began");
  },
  slow,
);

/** Seeded times at which to kill, some past the end of an undisturbed run. */
function killTimes(count: number, most: number): number[] {
  return Array.from({ length: count }, (_, i) => ((i * 2654435761) % 1000) / 1000 * most);
}

test(
  "killed at any time, the folder is absent or whole, and the next run clears up",
  slow,
  () =>
    inFolder(async (at) => {
      await makeSlowModel(at);
      const start = performance.now();
      await afpq(["quantize", at("m"), "-o", at("whole"), "-q"]);
      const whole = await folderHashes(at("whole"));
      let killed = 0;
      for (const ms of killTimes(20, 1.1 * (performance.now() - start))) {
        const { signal } = await afpq(["quantize", at("m"), "-o", at("q"), "-q"], {
          onStart: (child) => void setTimeout(() => stop(child, "SIGKILL"), ms),
        });
        killed += Number(signal === "SIGKILL");
        if (existsSync(at("q"))) {
          assert.deepEqual((await verifyCheckpoint(at("q"))).faults, [], `killed after ${ms} ms`);
          await rm(at("q"), { recursive: true });
        }
      }
      assert.ok(killed >= 5, `only ${killed} runs were killed`);
      assert.equal((await afpq(["quantize", at("m"), "-o", at("q"), "-q"])).code, 0);
      assert.deepEqual(await folderHashes(at("q")), whole);
      assert.deepEqual((await readdir(at())).sort(), ["m", "q", "whole"]);
    }),
);

test(
  "killed while replacing, the name has the old folder, the new one or none",
  slow,
  () =>
    inFolder(async (at) => {
      await makeSlowModel(at);
      const start = performance.now();
      await afpq(["quantize", at("m"), "-o", at("old"), "-q", "--format", "int4-sym"]);
      for (const ms of killTimes(8, 1.1 * (performance.now() - start))) {
        await rm(at("q"), { recursive: true, force: true });
        await cp(at("old"), at("q"), { recursive: true });
        await afpq(["quantize", at("m"), "-o", at("q"), "-q", "--force"], {
          onStart: (child) => void setTimeout(() => stop(child, "SIGKILL"), ms),
        });
        if (existsSync(at("q"))) {
          assert.deepEqual((await verifyCheckpoint(at("q"))).faults, [], `killed after ${ms} ms`);
        }
      }
      assert.equal((await afpq(["quantize", at("m"), "-o", at("q"), "-q", "--force"])).code, 0);
      assert.deepEqual((await readdir(at())).sort(), ["m", "old", "q"]);
    }),
);

/** Mounts a small disk at DIR for one command; why it cannot, or false. */
const onSmallDisk = (mount: string, command: readonly string[]) => [
  "unshare",
  "-rm",
  "sh",
  "-c",
  `${mount} && shift && exec "$@"`,
  "sh",
  "-",
  ...command,
];
const [probe, ...probeArgs] = onSmallDisk("mount -t tmpfs -o size=1m t /mnt", ["true"]);
const noMounts = spawnSync(probe, probeArgs).status === 0
  ? false
  : "no mount namespace of one's own here";

test(
  "a disk without room is refused before the work, naming the bytes",
  { skip: noMounts, ...slow },
  () =>
    inFolder(async (at) => {
      await makeSlowModel(at);
      await mkdir(at("disk"));
      const mount = `mount -t tmpfs -o size=3m t '${at("disk")}'`;
      const { code, stderr } = await afpq(["quantize", at("m"), "-o", at("disk", "q")], {
        runtime: onSmallDisk(mount, thisRuntime),
      });
      assert.equal(code, 1);
      assert.match(stderr, /its disk must have 8912896 bytes \(8.9 MB\) free: got \d+\n$/);
    }),
);

test(
  "a parent that cannot be written is refused before the work",
  { skip: noMounts, ...slow },
  () =>
    inFolder(async (at) => {
      await makeSlowModel(at);
      await mkdir(at("disk"));
      const mount = `mount -t tmpfs -o size=30m,ro t '${at("disk")}'`;
      const { code, stderr } = await afpq(["quantize", at("m"), "-o", at("disk", "q")], {
        runtime: onSmallDisk(mount, thisRuntime),
      });
      assert.deepEqual([code, stderr.split("\n").length], [1, 2], stderr);
      assert.match(stderr, /its parent must be writable: got EROFS/);
    }),
);
