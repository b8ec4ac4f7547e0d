/** Claims about lib/command_generate.ts. */
import assert from "node:assert/strict";
import { cp, rename, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { generateCommand, readGenerateOptions } from "../lib/command_generate.ts";
import { commands } from "../lib/command.ts";
import { openDevice } from "../lib/device.ts";
import { complete } from "../lib/generate.ts";
import { loadModel } from "../lib/llama.ts";
import { parseArgs } from "../lib/parse_args.ts";
import { createSampler } from "../lib/sampling.ts";
import { openTokenizer } from "../lib/tokenizer.ts";
import { type At, context, inFolder, refusal } from "./made_checkpoints.ts";
import { document, noPackage } from "./made_tokenizers.ts";
import { writeTalkingModel } from "./talking_model.ts";
import { testUnless } from "./test_unless.ts";

const TINY = fileURLToPath(new URL("../examples/tiny-llama", import.meta.url));

/** Options as the command line reads them. */
function options(...args: string[]) {
  const { string, boolean } = commands.generate;
  return readGenerateOptions(parseArgs(args, { string: ["_", ...string], boolean }));
}

/** A context that keeps what it is told, and fails where weights are read if `early`. */
function listener({ early = false } = {}) {
  const [lines, pieces] = [[] as string[], [] as string[]];
  return {
    lines,
    pieces,
    context: {
      ...context,
      log: (line: string) => void lines.push(line),
      onText: (piece: string) => void pieces.push(piece),
      onProgress: () => assert.ok(!early, "no weight was to be read"),
    },
  };
}

test("flags are read; without one of sampling the choice is greedy", () => {
  const greedy = options("m", "--prompt", "x");
  assert.deepEqual([greedy.tokens, greedy.sampling, greedy.head, greedy.kv], [
    64,
    null,
    null,
    undefined,
  ]);
  assert.equal(options("m", "--prompt", "x", "--temperature", "0", "--top-k", "3").sampling, null);
  const sampled = options("m", "--prompt=-1", "--top-p", ".9", "--seed", "7", "--head", "nf4-sym");
  assert.deepEqual(sampled.sampling, { topP: 0.9, seed: 7 });
  assert.deepEqual([sampled.prompt, sampled.head], ["-1", "nf4-sym"]);
});

test("each flag of sampling alone samples, as the help says", () => {
  const { help } = commands.generate;
  const [, named] = /Without\n?([^;]*) the likeliest token is taken/.exec(help)!;
  for (const flag of ["temperature", "top-p", "top-k", "seed"]) {
    assert.notEqual(options("m", "--prompt", "x", `--${flag}`, "1").sampling, null);
    assert.ok(named.includes(`--${flag}`), flag);
  }
});

test("what a flag cannot be is wrong usage", () => {
  const wrong: [string, string, RegExp][] = [
    ["tokens", "0", /--tokens must be a whole number of at least 1: got "0"/],
    ["tokens", "2.5", /--tokens must be a whole number/],
    ["temperature", "-1", /--temperature must be a number of at least 0/],
    ["temperature", "hot", /got "hot"/],
    ["top-p", "2", /--top-p must be a number from 0 to 1/],
    ["top-p", "0", /--top-p must be a number above 0: got "0"$/],
    ["top-k", "0", /--top-k/],
    ["seed", "x", /--seed/],
    ["kv", "f64", /did you mean "f16"\?|did you mean "f32"\?/],
    ["head", "nf4", /did you mean "nf4-asym"\?/],
    ["binding", "gpu", /must be one of/],
  ];
  for (const [flag, value, says] of wrong) {
    assert.throws(() => options("m", "--prompt", "x", `--${flag}=${value}`), says);
  }
});

testUnless(noPackage, "the pieces told are the document's text, and a newline", async () => {
  const { context, pieces, lines } = listener();
  const done = await generateCommand(
    options(TINY, "--prompt", "Once upon a time", "--tokens", "5", "--binding", "cpu"),
    context,
  );
  const json = done.json as { text: string; ids: number[] };
  assert.deepEqual(Object.keys(json), [
    "text",
    "ids",
    "prefillTokensPerSecond",
    "decodeTokensPerSecond",
    "device",
  ]);
  assert.equal(json.text, " of peace. The United");
  assert.deepEqual(json.ids, [268, 708, 47, 352, 505]);
  assert.equal(pieces.join(""), " of peace. The United\n");
  assert.deepEqual([done.rows, done.lines, done.stopped, lines], [[], [], false, []]);
});

/** Runs the talking model in an empty folder. */
function talk(...flags: string[]) {
  return async (at: At) => {
    const { context, lines } = listener();
    await writeTalkingModel(at("m"));
    const all = [at("m"), "--prompt", "abc", "--binding", "cpu", ...flags];
    return { ...await generateCommand(options(...all), context), said: lines };
  };
}

testUnless(
  noPackage,
  "--stats tells what a token costs, in the document and on stderr",
  () =>
    inFolder(async (at) => {
      const { json, said } = await talk("--stats", "--head", "nf4-asym", "--tokens", "3")(at);
      const { stats } = json as { stats: Record<string, number> };
      assert.equal(stats.bitsPerWeight, 32);
      const linears = 2 * (2 * 48 * 48 + 2 * 24 * 48 + 3 * 80 * 48);
      const head = 8 * 48; // rows of 2 units of 32 codes, and a pair of scales each
      const bits = (32 * linears + 8 * (2 * 16 + 4) * 8) / (linears + head);
      assert.ok(Math.abs(stats.bitsPerWeightWithHead - bits) < 1e-9, `${bits}`);
      assert.equal(stats.dispatchesPerToken, 0);
      assert.match(said.join("\n"), /3 tokens, prompt .* tokens\/s, then .* on TypeScript by cpu/);
      assert.match(said.join("\n"), /bits a weight: 32 in the linears, 31\.\d+ with the head/);
    }),
);

testUnless(
  noPackage,
  "the same seed samples the same text",
  () =>
    inFolder(async (at) => {
      const ids = async (...flags: string[]) => {
        const { json } = await talk("--tokens", "8", ...flags)(at);
        return (json as { ids: number[] }).ids;
      };
      for (const flags of [["--temperature", "2"], ["--top-k", "3"], ["--top-p", "0.9"]]) {
        const first = await ids("--seed", "5", ...flags);
        assert.deepEqual(await ids("--seed", "5", ...flags), first);
        assert.notDeepEqual(await ids("--seed", "6", ...flags), first);
      }
    }),
);

testUnless(
  noPackage,
  "a seed gives one text, which --tokens cuts and complete() gives too",
  () =>
    inFolder(async (at) => {
      const written = [];
      for (const count of ["1", "2", "9"]) {
        const { json } = await talk("--temperature", "2", "--seed", "5", "--tokens", count)(at);
        written.push((json as { ids: number[] }).ids);
      }
      const device = await openDevice({ binding: "cpu" });
      const [model, tokenizer] = [await loadModel(device, at("m")), await openTokenizer(at("m"))];
      const choose = createSampler({ temperature: 2, seed: 5 });
      const prompt = tokenizer.encode("abc");
      const { ids } = await complete(model, tokenizer, prompt, { tokens: 9, choose });
      assert.deepEqual(written, [ids.slice(0, 1), ids.slice(0, 2), ids]);
    }),
);

testUnless(
  noPackage,
  "--chat puts the prompt into the model's template, which it must have",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      const run = (...flags: string[]) =>
        generateCommand(options(at("m"), "--tokens", "2", "--binding", "cpu", ...flags), context);
      assert.match(await refusal(run("--chat", "--prompt", "a")), /must have a chat template/);
      const template = "{% for m in messages %}{{ m.content }}{% endfor %}d";
      await writeFile(at("m", "chat_template.jinja"), template);
      const [chat, plain] = [
        await run("--chat", "--prompt", "abc"),
        await run("--prompt", "abcd"),
      ];
      const ids = ({ json }: typeof chat) => (json as { ids: number[] }).ids;
      assert.deepEqual(ids(chat), ids(plain));
    }),
);

/** Qwen's template and special tokens, in a vocabulary of eight. */
const CHATML = {
  tokenizer: document({
    added_tokens: [
      { id: 5, content: "<|im_start|>", special: true },
      { id: 7, content: "<|im_end|>", special: true },
    ],
    model: {
      type: "BPE",
      unk_token: null,
      vocab: { a: 0, b: 1, c: 2, d: 3, e: 4, "\n": 6 },
      merges: [],
    },
  }),
  settings: {
    eos_token: { content: "<|im_end|>", lstrip: false },
    chat_template: `{%- for message in messages %}{%- if message.role == 'user' and ` +
      `not message.tool_calls %}{{- '<|im_start|>' + message.content + '<|im_end|>\\n' }}` +
      `{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>a\\n' }}{%- endif %}`,
  },
};

testUnless(
  noPackage,
  "special tokens of a chat template become their ids, and its end stops",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"), { tokenizer: CHATML.tokenizer });
      await writeFile(at("m", "tokenizer_config.json"), JSON.stringify(CHATML.settings));
      const run = async (...flags: string[]) => {
        const { context, lines } = listener();
        const all = options(at("m"), "--tokens", "50", "--binding", "cpu", ...flags);
        return {
          ids: ((await generateCommand(all, context)).json as { ids: number[] }).ids,
          lines,
        };
      };
      const chat = await run("--chat", "--prompt", "abc");
      const spelt = "<|im_start|>abc<|im_end|>\n<|im_start|>a\n";
      assert.deepEqual(await run("--prompt", spelt), chat);
      assert.ok(!chat.ids.includes(7));
      // the first token that it writes, made the end of a turn by generation_config.json
      const generation = { eos_token_id: [chat.ids[0]] };
      await writeFile(at("m", "generation_config.json"), JSON.stringify(generation));
      const none = await run("--chat", "--prompt", "abc");
      assert.deepEqual([none.ids, none.lines], [[], ["The first token ends the text"]]);
    }),
);

testUnless(
  noPackage,
  "a text that ends because the context is full says so",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      const { context, lines } = listener();
      const all = ["--prompt", "a".repeat(60), "--tokens", "50", "--binding", "cpu"];
      const { json } = await generateCommand(options(at("m"), ...all), context);
      assert.equal((json as { ids: number[] }).ids.length, 5);
      assert.ok(lines.includes("The text ends as the context of 64 tokens is full"), `${lines}`);
    }),
);

testUnless(noPackage, "Ctrl-C ends with what was written", () =>
  inFolder(async (at) => {
    await writeTalkingModel(at("m"));
    const controller = new AbortController();
    let count = 0;
    const done = await generateCommand(
      options(at("m"), "--prompt", "abc", "--tokens", "50", "--binding", "cpu"),
      {
        ...context,
        signal: controller.signal,
        onText: () => void (++count === 3 && controller.abort()),
      },
    );
    assert.equal(done.stopped, true);
    assert.ok((done.json as { ids: number[] }).ids.length < 50);
  }));

/** What is refused before a weight is read. */
const refusals: Record<string, { make(at: At): Promise<unknown>; says: RegExp; prompt?: string }> =
  {
    "a prompt longer than the context": {
      make: (at) => writeTalkingModel(at("m")),
      prompt: "a".repeat(65),
      says: /^Cannot run the prompt .* must have 1 to 64 tokens, the model's context: got 65$/,
    },
    "ids outside the vocabulary": {
      make: (at) => {
        const added_tokens = [{ id: 11, content: "<x>", special: true }];
        return writeTalkingModel(at("m"), { tokenizer: document({ added_tokens }) });
      },
      prompt: "a<x>",
      says: /^Cannot run the text as its ids must be below the model's vocabulary, 8: got 11/,
    },
    "the tokenizer of another model": {
      make: async (at) => {
        await writeTalkingModel(at("m"));
        await cp(`${TINY}/tokenizer.json`, at("m", "tokenizer.json"));
      },
      says: /^Cannot use .* with this model as it must be of its vocabulary, 8 tokens: got 2048$/,
    },
    "a missing shard": {
      make: async (at) => {
        await writeTalkingModel(at("m"));
        await rename(at("m", "model.safetensors"), at("m", "part.bin"));
        const weight_map = { "model.norm.weight": "model-00001-of-00002.safetensors" };
        await writeFile(at("m", "model.safetensors.index.json"), JSON.stringify({ weight_map }));
      },
      says:
        /^Cannot read .*model-00001-of-00002\.safetensors" as it must be a file: got nothing there$/,
    },
    "a folder without a tokenizer": {
      make: async (at) => {
        await writeTalkingModel(at("m"));
        await rename(at("m", "tokenizer.json"), at("m", "tok.json"));
      },
      says: /^Cannot .*tokenizer\.json/,
    },
    "a config that is not known": {
      make: async (at) => {
        await writeTalkingModel(at("m"));
        await writeFile(at("m", "config.json"), '{"model_type": "gpt2"}');
      },
      says: /^Cannot run the model as config.json's model_type must be one of llama/,
    },
  };

for (const [what, { make, says, prompt = "abc" }] of Object.entries(refusals)) {
  testUnless(noPackage, `${what} is refused before a weight is read`, () =>
    inFolder(async (at) => {
      await make(at);
      const { context } = listener({ early: true });
      const all = options(at("m"), "--prompt", prompt, "--binding", "cpu");
      assert.match(await refusal(generateCommand(all, context)), says);
    }));
}

testUnless(
  noPackage,
  "a weight that is not a number is refused by tensor and place",
  () =>
    inFolder(async (at) => {
      const name = "model.layers.1.mlp.up_proj.weight";
      await writeTalkingModel(at("m"), { change: (w) => void (w.get(name)!.values[48 + 3] = NaN) });
      const all = options(at("m"), "--prompt", "abc", "--binding", "cpu");
      assert.match(
        await refusal(generateCommand(all, context)),
        /^Cannot run "model.layers.1.mlp.up_proj.weight" as weights must be finite: .* at \[1, 3\]$/,
      );
    }),
);
