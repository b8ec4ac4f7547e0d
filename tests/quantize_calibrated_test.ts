/** Claims about lib/quantize_calibrated.ts, on a small network of eight letters. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { openCheckpoint } from "../lib/checkpoint.ts";
import { openDevice } from "../lib/device.ts";
import { widen } from "../lib/float16.ts";
import { sha256 } from "../lib/hashed_file.ts";
import { loadModel } from "../lib/llama.ts";
import { packedTensors, readPacked } from "../lib/packed_tensors.ts";
import { type CalibratedOptions, quantizeCalibrated } from "../lib/quantize_calibrated.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { methods } from "../lib/quantize_linear.ts";
import { quantize } from "../lib/quantizer.ts";
import { verifyCheckpoint } from "../lib/verify_checkpoint.ts";
import { gpuTest } from "./gpu_devices.ts";
import { inFolder } from "./made_checkpoints.ts";
import { noPackage } from "./made_tokenizers.ts";
import { uniform } from "./random.ts";
import { writeTalkingModel } from "./talking_model.ts";
import { testUnless } from "./test_unless.ts";

const device = await openDevice({ binding: "cpu" });
const next = uniform(3);
const text = Array.from({ length: 200 }, () => "abcde"[Math.floor(5 * next())]).join("");
const base = { text, device, context: 16, format: "nf3-asym", group: 32 } as const;
/** The made model, and what Deno and Bun both make of it. */
const MODEL = "38630d2ad633eddac2b3adf35ab01dde874c8e2e176ebd559ba31ce3138334bf";
const QUANTIZED = "939fc570c30130c7cfada4513d9f4f5a80ed508079c51dc33b2940656955ff3d";
const calibrated = methods.filter((method) => method !== "rtn");

for (const method of calibrated) {
  testUnless(
    noPackage,
    `${method} loses less of the outputs, and writes a sound folder`,
    () =>
      inFolder(async (at) => {
        await writeTalkingModel(at("m"));
        const done = await quantizeCalibrated(at("m"), at("q"), { ...base, method });
        assert.equal(done.reports.length, 14);
        for (const { name, outputError, plainOutputError } of done.reports) {
          assert.ok(outputError < plainOutputError, `${name}: ${outputError}, ${plainOutputError}`);
        }
        assert.deepEqual((await verifyCheckpoint(at("q"))).faults, []);
        const model = await loadModel(device, at("q"));
        assert.ok((await model.losses([1, 2, 3])).every(Number.isFinite));
        model.close();
        assert.deepEqual((await readdir(at())).sort(), ["m", "q"]);
      }),
  );
}

testUnless(
  noPackage,
  "a budget of bits goes with a method: each tensor by its recipe, outputs lose less",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      const budget = { text, device, context: 16, bits: 7 };
      for (const method of ["gptq", "gptq+awq"] as const) {
        const done = await quantizeCalibrated(at("m"), at(method), { ...budget, method });
        assert.ok(done.bitsPerWeight <= 7.005, `${done.bitsPerWeight}`);
        for (const { name, outputError, plainOutputError } of done.reports) {
          assert.ok(outputError < plainOutputError, `${name}: ${outputError}, ${plainOutputError}`);
        }
        const packed = (await openCheckpoint(at(method))).files.flatMap(packedTensors);
        assert.ok(packed.every(({ scaleFormat }) => scaleFormat), "scales are codes");
        assert.deepEqual((await verifyCheckpoint(at(method))).faults, []);
      }
    }),
);

testUnless(
  noPackage,
  "fitted codebooks are fitted again where inputs are felt, and shared by what shares inputs",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      const books = async (method: "weighted" | "gptq", codebook?: "lloyd") => {
        const options = { ...base, group: 16, method, codebook, force: true } as const;
        const { reports } = await quantizeCalibrated(at("m"), at("q"), options);
        for (const { name, outputError, plainOutputError } of reports) {
          assert.ok(outputError < plainOutputError, `${name}: ${outputError}, ${plainOutputError}`);
        }
        assert.deepEqual((await verifyCheckpoint(at("q"))).faults, []);
        const packed = (await openCheckpoint(at("q"))).files.flatMap(packedTensors);
        return new Map(packed.map(({ name, format }) => [name, format.name]));
      };
      await quantizeCheckpoint(at("m"), at("p"), { ...base, group: 16, codebook: "lloyd" });
      const plain = new Map(
        (await openCheckpoint(at("p"))).files.flatMap(packedTensors).map((
          q,
        ) => [q.name, q.format.name]),
      );
      for (const method of ["weighted", "gptq"] as const) {
        const felt = await books(method, "lloyd");
        const name = (linear: string) => `model.layers.1.${linear}_proj.weight`;
        assert.match(felt.get(name("mlp.down"))!, /^custom:/);
        assert.notEqual(felt.get(name("mlp.down")), plain.get(name("mlp.down")));
        assert.equal(felt.get(name("self_attn.q")), felt.get(name("self_attn.v")));
        assert.equal(felt.get(name("mlp.gate")), felt.get(name("mlp.up")));
      }
    }),
);

testUnless(
  noPackage,
  "a network that is quantised predicts nearer to the dense one by gptq",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      const logitsOf = async (path: string) => {
        const model = await loadModel(device, path, { kv: "f32" });
        const logits = await model.allLogits([0, 1, 2, 3, 4, 3, 2, 1, 0, 4, 1, 3]);
        model.close();
        return logits;
      };
      const dense = await logitsOf(at("m"));
      const distances = [];
      for (const method of ["weighted", "gptq"] as const) {
        await quantizeCalibrated(at("m"), at(method), { ...base, method });
        const logits = await logitsOf(at(method));
        distances.push(logits.reduce((sum, y, i) => sum + (y - dense[i]) ** 2, 0));
      }
      assert.ok(distances[1] < distances[0], distances.join(" "));
    }),
);

testUnless(
  noPackage,
  "what is left out stays dense, byte for byte, and is not folded into",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      const exclude = ["*.k_proj.*", "*.up_proj.*"];
      await quantizeCalibrated(at("m"), at("q"), { ...base, method: "awq", exclude });
      const [source, made] = [await openCheckpoint(at("m")), await openCheckpoint(at("q"))];
      const names = ["k_proj.weight", "up_proj.weight", "input_layernorm.weight"];
      for (const [name, tensor] of made.tensors) {
        if (!names.some((ending) => name.endsWith(ending))) continue;
        assert.deepEqual(await tensor.bytes(), await source.tensors.get(name)!.bytes(), name);
      }
    }),
);

testUnless(
  noPackage,
  "matrices beyond the decoder's are rounded as ever",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      const include = ["*_proj.weight", "lm_head.weight"];
      await quantizeCalibrated(at("m"), at("q"), { ...base, method: "gptq", include });
      const { files } = await openCheckpoint(at("q"));
      const head = files.flatMap(packedTensors).find(({ name }) => name === "lm_head.weight")!;
      const source = (await openCheckpoint(at("m"))).tensors.get("lm_head.weight")!;
      const w = widen(await source.bytes(), "F32");
      const { rows, cols, name } = head;
      assert.deepEqual(await readPacked(head), quantize(w, { ...base, rows, cols, name }));
    }),
);

/** Aborts once so many linears are done. */
function stopAfter(linears: number): Pick<CalibratedOptions, "signal" | "onLinear"> {
  const controller = new AbortController();
  const onLinear = (done: number) => done >= linears && controller.abort();
  return { signal: controller.signal, onLinear };
}

for (const method of ["gptq", "gptq+awq"] as const) {
  testUnless(
    noPackage,
    `${method}: a run that was stopped goes on, to the same bytes`,
    () =>
      inFolder(async (at) => {
        await writeTalkingModel(at("m"));
        const options = { ...base, method };
        await quantizeCalibrated(at("m"), at("whole"), options);
        const lines: string[] = [];
        const log = (line: string) => lines.push(line);
        await assert.rejects(
          quantizeCalibrated(at("m"), at("q"), { ...options, ...stopAfter(5), log }),
        );
        assert.match(lines.join("\n"), /^1 of 2 blocks are kept in ".*\.q\.blocks-\w+": the same/);
        const seen: number[] = [];
        const onLinear = (done: number) => seen.push(done);
        await quantizeCalibrated(at("m"), at("q"), { ...options, log, onLinear });
        assert.equal(Math.min(...seen), 4, "the first block is not quantised again");
        const [a, b] = await Promise.all(
          ["whole", "q"].map((name) => readFile(at(name, "model.safetensors"))),
        );
        assert.equal(sha256(a), sha256(b));
        assert.deepEqual((await readdir(at())).sort(), ["m", "q", "whole"]);
      }),
  );
}

testUnless(
  noPackage,
  "a run that is stopped in its first block leaves nothing",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      const options = { ...base, method: "gptq" as const, ...stopAfter(1) };
      await assert.rejects(quantizeCalibrated(at("m"), at("q"), options));
      assert.deepEqual(await readdir(at()), ["m"]);
    }),
);

testUnless(
  noPackage,
  "what is in no block cannot be calibrated, and says so",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      const options = { ...base, method: "gptq", include: ["model.embed_tokens.weight"] } as const;
      await assert.rejects(
        quantizeCalibrated(at("m"), at("q"), options),
        /^RangeError: Cannot calibrate ".*" as a linear of a block must be chosen: got "model.embed/,
      );
      assert.deepEqual(await readdir(at()), ["m"]);
    }),
);

testUnless(noPackage, "a dry run tells sizes and writes nothing", () =>
  inFolder(async (at) => {
    await writeTalkingModel(at("m"));
    const options = { ...base, method: "gptq" as const, dryRun: true };
    const { nmse, reports, bitsPerWeight } = await quantizeCalibrated(at("m"), at("q"), options);
    assert.deepEqual([nmse, reports], [null, []]);
    assert.ok(bitsPerWeight > 3);
    assert.deepEqual(await readdir(at()), ["m"]);
  }));

testUnless(
  noPackage,
  "what cannot be calibrated is refused in one line",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      const refusal = async (
        options: Partial<CalibratedOptions>,
        model = at("m"),
        out = at("q"),
      ) => {
        const all = { ...base, method: "gptq" as const, ...options };
        return await quantizeCalibrated(model, out, all).then(
          () => "none",
          ({ message }) => message,
        );
      };
      assert.equal(
        await refusal({ text: "abc", textName: "t.txt" }),
        'Cannot calibrate with "t.txt" as it must fill a window of 16 tokens: got 2',
      );
      assert.match(
        await refusal({ context: 65 }),
        /windows must fit its context of 64 tokens: got 65/,
      );
      assert.match(
        await refusal({}, at("m", "model.safetensors")),
        /must hold a config.json: got none/,
      );
      assert.match(await refusal({}, at("m"), at("m", "q")), /must stand apart/);
      assert.deepEqual(await readdir(at()), ["m"]);
    }),
);

testUnless(
  noPackage,
  "without a GPU the same bytes come out on every runtime",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      const hash = async (name: string) => sha256(await readFile(at(name, "model.safetensors")));
      // random weights come by cosines and logarithms, which another system may round otherwise
      if (await hash("m") !== MODEL) return;
      await quantizeCalibrated(at("m"), at("q"), { ...base, method: "gptq+awq" });
      assert.equal(await hash("q"), QUANTIZED);
    }),
);

if (noPackage === null) {
  gpuTest(
    "on a GPU outputs lose less than by plain rounding as well",
    (_gpu, onGpu) =>
      inFolder(async (at) => {
        await writeTalkingModel(at("m"));
        const options = { ...base, method: "gptq+awq" as const, device: onGpu };
        const { reports } = await quantizeCalibrated(at("m"), at("q"), options);
        assert.ok(
          reports.every(({ outputError, plainOutputError }) => outputError < plainOutputError),
        );
      }),
  );
}

test.after(() => device.close());
