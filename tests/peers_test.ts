/**
 * Claims about other people's kernels beside ours: that what they are given is what they take, that who
 * is wrong is not timed, and what is said of those who are.
 *
 * @module
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chainError, chainWeights, type Peer } from "../bench/chain.ts";
import { activations } from "../bench/made_matrices.ts";
import { onnxModel } from "../bench/onnx_model.ts";
import { type PeerRow, readPeerOptions, timePeers } from "../bench/peers.ts";
import { UsageError } from "../lib/read_options.ts";
import { runFile } from "./afpq_process.ts";
import { present } from "./gpu_devices.ts";
import { inFolder } from "./made_checkpoints.ts";
import { testUnless } from "./test_unless.ts";

const PEERS = fileURLToPath(new URL("../bench/peers.ts", import.meta.url));
const SHAPE = { rows: 6, cols: 4, tokens: 3, pairs: 2 };
const WEIGHTS = chainWeights(SHAPE);

/** Field numbers and contents of a message, read by the rules of protobuf. */
function fields(bytes: Uint8Array): { at: number; value: number; bytes: Uint8Array }[] {
  const found = [];
  let i = 0;
  const varint = () => {
    let value = 0;
    for (let power = 1;; power *= 128) {
      const byte = bytes[i++];
      value += power * (byte & 127);
      if (byte < 128) return value;
    }
  };
  while (i < bytes.length) {
    const key = varint(), value = varint();
    const content = key % 8 === 2 ? bytes.subarray(i, i += value) : new Uint8Array();
    found.push({ at: key >> 3, value, bytes: content });
  }
  return found;
}

const within = (bytes: Uint8Array, at: number) => fields(bytes).filter((field) => field.at === at);
const texts = (bytes: Uint8Array, at: number) =>
  within(bytes, at).map((field) => new TextDecoder().decode(field.bytes));

test("onnxModel() chains its steps from x to y, each with tensors of its own", () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, i) => i);
  const weights = [{ type: "uint8", shape: [30, 10], bytes }] as const;
  const step = { operator: "A", domain: "d", attributes: { K: 300, N: 0 }, weights };
  const model = onnxModel({ tokens: 2, cols: 10, steps: [step, step, step] });
  const [graph] = within(model, 7);
  const nodes = within(graph.bytes, 1).map((node) => node.bytes);
  assert.deepEqual(nodes.map((node) => [...texts(node, 1), ...texts(node, 2)]), [
    ["x", "w0.0", "h1"],
    ["h1", "w1.0", "h2"],
    ["h2", "w2.0", "y"],
  ]);
  const attributes = within(nodes[0], 5).map((one) => {
    return `${texts(one.bytes, 1)[0]} ${within(one.bytes, 3)[0].value}`;
  });
  assert.deepEqual(attributes, ["K 300", "N 0"]);
  const tensors = within(graph.bytes, 5).map((tensor) => tensor.bytes);
  assert.deepEqual(tensors.flatMap((tensor) => texts(tensor, 8)), ["w0.0", "w1.0", "w2.0"]);
  assert.deepEqual(within(tensors[1], 1).map(({ value }) => value), [30, 10]);
  assert.deepEqual(within(tensors[1], 9)[0].bytes, bytes);
});

/** A peer that multiplies in f64, gives what `change` makes of it, and takes `ms`. */
function made(by: string, ms: number, change: (y: Float32Array) => Float32Array = (y) => y): Peer {
  return {
    by,
    on: "CPU",
    format: "f32",
    make: ({ rows, cols, tokens, pairs }, weights) =>
      Promise.resolve({
        bitsPerWeight: 32,
        weights: () => weights,
        async run(x) {
          await pause(ms);
          const y = new Float32Array(tokens * cols);
          for (let token = 0; token < tokens; token++) {
            let values = [...x.subarray(token * cols, (token + 1) * cols)];
            const product = (w: Float32Array, length: number) =>
              Array.from(
                { length },
                (_, row) => values.reduce((sum, v, i) => sum + w[row * values.length + i] * v, 0),
              );
            for (let pair = 0; pair < pairs; pair++) {
              values = product(weights.up, rows);
              values = product(weights.down, cols);
            }
            y.set(values, token * cols);
          }
          return change(y);
        },
        free() {},
      }),
  };
}

function context() {
  const lines: string[] = [];
  const log = (line: string) => void lines.push(line);
  return { lines, log, onProgress() {}, signal: new AbortController().signal };
}

test("chainError() is that of f32 for a right answer, and large for a wrong one", async () => {
  const weights = WEIGHTS, x = activations(SHAPE.tokens * SHAPE.cols);
  const y = await (await made("somebody", 0).make(SHAPE, weights)).run(x);
  assert.ok(chainError(SHAPE, weights, x, y) < 2 ** -23);
  const swapped = { up: weights.down, down: weights.up };
  assert.ok(chainError(SHAPE, swapped, x, y) > 0.1);
  y[y.length - 1] = NaN; // of the last token
  assert.ok(Number.isNaN(chainError(SHAPE, weights, x, y)));
});

test("timePeers() tells what each took by what ours took", async () => {
  const told = context();
  const peers = [made("afpq", 10), made("another", 40)];
  const rows = await timePeers(peers, SHAPE, WEIGHTS, 5, told);
  assert.deepEqual(told.lines, []);
  assert.deepEqual(rows.map(({ by, products, rounds }) => [by, products, rounds]), [
    ["afpq", 4, 5],
    ["another", 4, 5],
  ]);
  const [{ vsOwn: one }, { vsOwn, vsOwnLow, vsOwnHigh, medianMs, gbPerS }] = rows;
  assert.equal(one, 1);
  assert.ok(vsOwn! > 1.5 && vsOwnLow! <= vsOwn! && vsOwn! <= vsOwnHigh!, `${vsOwn}`); // 4, if timers keep to it
  assert.ok(Math.abs(gbPerS * medianMs - 6 * 4 * 4 / 1e6) < 1e-9);
});

test("timePeers() compares with ours wherever it stands, and with nobody where it is not", async () => {
  const [ours, another] = [made("afpq", 1), made("another", 1)];
  const [first, second] = await timePeers([another, ours], SHAPE, WEIGHTS, 3, context());
  assert.deepEqual([first.by, second.by, second.vsOwn], ["another", "afpq", 1]);
  const [alone] = await timePeers([another], SHAPE, WEIGHTS, 3, context());
  assert.deepEqual([alone.vsOwn, alone.vsOwnLow], [null, null]);
});

test("timePeers() leaves out whose answer is wrong, and says why", async () => {
  const told = context();
  const wrong = made("another", 0, (y) => y.map((value) => 1.2 * value));
  const rows = await timePeers([made("afpq", 0), wrong], SHAPE, WEIGHTS, 3, told);
  assert.deepEqual(rows.map(({ by }) => by), ["afpq"]);
  assert.match(
    told.lines.join(),
    /^left out: another on CPU, f32: .* at most 0\.1: got (0\.2|0\.19999)/,
  );
});

test("timePeers() throws where ours is wrong", async () => {
  const wrong = made("afpq", 0, (y) => y.map((value) => 1.0001 * value));
  await assert.rejects(
    timePeers([wrong], SHAPE, WEIGHTS, 3, context()),
    /at most 0\.00001: got 0\.000(1|0999)/,
  );
});

test("what peers cannot be asked for is wrong usage, in one line", () => {
  for (
    const [args, wanted] of [
      [
        ["--with", "onnxruntim"],
        /^Cannot understand "onnxruntim" as a peer: did you mean "onnxruntime"\?$/,
      ],
      [["--shapes", "4096"], /^Cannot read "4096" as a shape /],
      [["--batches", "0"], /^Cannot read "0" as a batch /],
      [["--round", "3"], /did you mean "--rounds"\?$/],
      [["all"], /^Cannot understand "all"/],
    ] as const
  ) {
    assert.throws(() => readPeerOptions(args), (error: Error) => {
      return error instanceof UsageError && wanted.test(error.message);
    });
  }
  assert.equal(readPeerOptions(["--help"]), null);
});

/** The document of a run in a process of its own. */
const rowsOf = (...args: string[]): Promise<{ rows: PeerRow[]; stderr: string }> =>
  inFolder(async (at) => {
    const { code, stderr } = await runFile(PEERS, ["--json", at("a.json"), ...args]);
    assert.equal(code, 0, stderr);
    const { rows } = JSON.parse(await readFile(at("a.json"), "utf8"));
    return { rows, stderr };
  });

const none = present.length === 0 ? "no GPU" : null;

testUnless(
  none,
  "our own formats are among those that are timed, at one token and three",
  async () => {
    const flags = ["--with", "afpq", "--shapes", "64x96", "--batches", "1,3", "--rounds", "3"];
    const { rows, stderr } = await rowsOf(...flags);
    const formats = ["fp4-asym g128", "nf4-asym g128", "int4-sym g32", "nf3-asym g128", "f16"];
    assert.deepEqual(rows.map(({ format }) => format), [...formats, ...formats], stderr);
    assert.ok(rows.every(({ error }) => error < 1e-5));
  },
);

/** In the gate, which sets WEBGPU, the packages are fetched; in Bun they would have to be installed. */
const large = "Bun" in globalThis
  ? "their packages are no dependency"
  : process.env.WEBGPU || process.env.PEERS
  ? null
  : "it fetches 350 MB: PEERS=yes runs it";

testUnless(
  none ?? large,
  "ONNX Runtime and llama.cpp multiply what they are given as the reference does",
  async () => {
    const flags = ["--shapes", "256x512", "--batches", "1", "--rounds", "3"];
    const { rows, stderr } = await rowsOf(...flags);
    const found = (by: RegExp, on: string) =>
      rows.filter((row) => by.test(row.by) && row.on === on);
    assert.equal(found(/^ONNX/, "CPU").length, 3, stderr);
    assert.equal(found(/^llama/, "CPU").length, 4, stderr);
    const exact = found(/^ONNX/, "CPU").filter(({ format }) => !format.includes(","));
    assert.ok(exact.every(({ error }) => error < 1e-5), JSON.stringify(exact));
  },
);
