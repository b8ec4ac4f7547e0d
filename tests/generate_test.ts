/** Claims about lib/generate.ts: on a made-up model, and on real ones. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openDevice } from "../lib/device.ts";
import { complete, generate, stopTokens, warmUp } from "../lib/generate.ts";
import { type LanguageModel, loadModel } from "../lib/llama.ts";
import { createSampler } from "../lib/sampling.ts";
import { openTokenizer } from "../lib/tokenizer.ts";
import { gpuTest } from "./gpu_devices.ts";
import { testUnless } from "./test_unless.ts";

const TINY = fileURLToPath(new URL("../examples/tiny-llama", import.meta.url));
const STORIES = fileURLToPath(new URL("../../shared/models/stories260K", import.meta.url));

/** A tokenizer of one letter a token, "a" being 0; 25 ends, and 26 is half a character. */
const letters = {
  eos: 25,
  stream: () => {
    let half = "";
    return (id: number | null) => {
      if (id === 26) {
        half += "?";
        return "";
      }
      const piece = half + (id === null ? "" : String.fromCharCode(97 + id));
      half = "";
      return piece;
    };
  },
};

/** A model that says `script` whatever it is told, its runner-up `gap` behind; keeps what it ran. */
function scripted(script: readonly number[], { context = 100, gap = 1 } = {}) {
  const ran: number[][] = [];
  let at = 0;
  const next = (ids: ArrayLike<number>) => {
    ran.push([...Array.from(ids)]);
    return script[at++];
  };
  const model = {
    config: { eosTokens: [24] },
    context,
    reset: () => void (at = 0),
    logits(ids: ArrayLike<number>) {
      const logits = new Float32Array(30);
      logits[next(ids)] = 1;
      return Promise.resolve(logits);
    },
    top(ids: ArrayLike<number>) {
      const id = next(ids);
      return Promise.resolve({
        ids: Uint32Array.of(id, 29),
        logits: Float32Array.of(1, 1 - gap),
      });
    },
  };
  return { model: model as unknown as LanguageModel, ran };
}

test("the prompt is run at once, then a token a run, and the last token not at all", async () => {
  const { model, ran } = scripted([1, 2, 3, 4]);
  const { text, ids, ending } = await complete(model, letters, [7, 8, 9], { tokens: 3 });
  assert.deepEqual([text, ids, ending], ["bcd", [1, 2, 3], "length"]);
  assert.deepEqual(ran, [[7, 8, 9], [1], [2]]);
});

test("a stop token of the model or the tokenizer ends the text and is not in it", async () => {
  for (const stop of [24, 25]) {
    const { model } = scripted([1, 2, stop, 3]);
    const { text, ids, ending } = await complete(model, letters, [0]);
    assert.deepEqual([text, ids, ending], ["bc", [1, 2], "stop"]);
  }
  const { model } = scripted([25, 1, 9]);
  const own = await complete(model, letters, [0], { stop: new Set([9]) });
  assert.deepEqual(own.ids, [25, 1]);
  assert.deepEqual(stopTokens(model, letters), new Set([24, 25]));
  assert.deepEqual(stopTokens(model, { eos: null }), new Set([24]));
});

test("a full context ends the text, every position used", async () => {
  const { model, ran } = scripted([1, 2, 3, 4, 5], { context: 5 });
  const { ids, ending } = await complete(model, letters, [7, 8, 9]);
  assert.deepEqual([ids, ending], [[1, 2, 3], "context"]);
  assert.equal(ran.flat().length, 5);
});

test("the signal ends the text with what was written", async () => {
  const controller = new AbortController();
  const { model } = scripted([1, 2, 3, 4]);
  const { text, ending } = await complete(model, letters, [0], {
    signal: controller.signal,
    onText: (piece) => piece === "c" && controller.abort(),
  });
  assert.deepEqual([text, ending], ["bc", "stopped"]);
});

test("half a character is held back, and told at the end if it stays half", async () => {
  const { model } = scripted([1, 26, 2, 26]);
  const steps = [];
  for await (const step of generate(model, letters, [0], { tokens: 4 })) steps.push(step);
  assert.deepEqual(steps, [
    { id: 1, text: "b" },
    { id: 26, text: "" },
    { id: 2, text: "?c" },
    { id: 26, text: "" },
    { id: null, text: "?" },
  ]);
});

test("the first step whose two largest logits are nearer than 1e-3 is told", async () => {
  const near = scripted([1, 2], { gap: 0.0009 });
  const { nearTie } = await complete(near.model, letters, [0], { tokens: 2 });
  assert.deepEqual([nearTie!.step, nearTie!.ids], [1, [1, 29]]);
  assert.ok(Math.abs(nearTie!.difference - 0.0009) < 1e-6);
  const far = scripted([1, 2], { gap: 0.0011 });
  assert.equal((await complete(far.model, letters, [0], { tokens: 2 })).nearTie, null);
});

test("what is not greedy is asked for by all logits", async () => {
  const { model } = scripted([1, 2, 3]);
  const choose = (logits: Float32Array) => logits.indexOf(1) + 1;
  const { ids, nearTie } = await complete(model, letters, [0], { tokens: 3, choose });
  assert.deepEqual([ids, nearTie], [[2, 3, 4], null]);
});

test("of few candidates the index is turned into an id", async () => {
  const { model } = scripted([1, 2, 3]);
  const { ids } = await complete(model, letters, [0], {
    tokens: 2,
    candidates: 2,
    choose: (logits) => logits.length - 1,
  });
  assert.deepEqual(ids, [29, 29]);
});

test("logits that are no numbers are refused, as a sampler refuses them", async () => {
  // in plain TypeScript NaN comes with ids; where a GPU finds no number its ids are none either
  const answers = [
    { ids: Uint32Array.of(0, 1), logits: Float32Array.of(NaN, NaN) },
    { ids: Uint32Array.of(2 ** 32 - 1, 2 ** 32 - 1), logits: Float32Array.of(-3.4e38, -3.4e38) },
  ];
  for (const answer of answers) {
    const { model: sound } = scripted([]);
    const config = { ...sound.config, vocab: 30 };
    const model = { ...sound, config, top: () => Promise.resolve(answer) };
    for (const how of [{}, { candidates: 2, choose: createSampler() }]) {
      await assert.rejects(complete(model, letters, [0], how), {
        name: "RangeError",
        message: "Cannot choose a token as its logit must be a number: got NaN",
      });
    }
  }
});

test("warming up draws nothing", async () => {
  for (const candidates of [undefined, 2]) {
    const { model } = scripted([1, 2]);
    const choose = () => assert.fail("a choice was asked for");
    await warmUp(model, [7, 8], { choose, candidates });
  }
});

test("one token has no decode rate", async () => {
  const { model } = scripted([1]);
  const done = await complete(model, letters, [0, 1], { tokens: 1 });
  assert.equal(done.decodeTokensPerSecond, null);
  assert.ok(done.prefillTokensPerSecond > 0);
});

test("warming up changes nothing", async () => {
  const device = await openDevice({ binding: "cpu" });
  const [model, tokenizer] = [await loadModel(device, TINY), await openTokenizer(TINY)];
  const prompt = tokenizer.encode("The ship");
  const cold = await complete(model, tokenizer, prompt, { tokens: 3 });
  await warmUp(model, prompt);
  const warm = await complete(model, tokenizer, prompt, { tokens: 3 });
  assert.deepEqual([warm.ids, warm.text], [cold.ids, cold.text]);
});

test("few candidates are sampled as all are, where top-k is as few", async () => {
  const device = await openDevice({ binding: "cpu" });
  const [model, tokenizer] = [await loadModel(device, TINY), await openTokenizer(TINY)];
  const write = async (candidates?: number) => {
    const choose = createSampler({ topK: 5, seed: 1 });
    const how = { tokens: 6, choose, candidates };
    return (await complete(model, tokenizer, tokenizer.encode("The ship"), how)).ids;
  };
  assert.deepEqual(await write(5), await write());
});

gpuTest("greedy ids are those of plain TypeScript", async (_gpu, device) => {
  const tokenizer = await openTokenizer(TINY);
  const prompt = tokenizer.encode("Once upon a time");
  const written = [];
  for (const on of [device, await openDevice({ binding: "cpu" })]) {
    const model = await loadModel(on, TINY);
    written.push(await complete(model, tokenizer, prompt, { tokens: 24 }));
    model.close();
  }
  assert.equal(written[1].nearTie, null);
  assert.deepEqual(written[0].ids, written[1].ids);
});

testUnless(
  existsSync(STORIES) ? null : "no ../shared/models/stories260K",
  "stories260K goes on as another implementation has it",
  async () => {
    const device = await openDevice({ binding: "cpu" });
    const [model, tokenizer] = [await loadModel(device, STORIES), await openTokenizer(STORIES)];
    const prompt = tokenizer.encode("Once upon a time");
    const { text, ids } = await complete(model, tokenizer, prompt, { tokens: 57 });
    assert.equal(
      text,
      ", there was a little girl named Lily. She loved to play outside in the park. One day, " +
        "she saw a big, red ball. She wanted to play with it, but it was too high.",
    );
    assert.deepEqual(ids.slice(0, 4), [432, 383, 286, 261]);
  },
);
