/** Claims about lib/chat_template.ts: templates give the text they gave elsewhere, and end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileChatTemplate, openChatTemplate, strftime } from "../lib/chat_template.ts";
import { loadNpm } from "../lib/npm.ts";
import { absent, inTokenizerFolder, llama3Files, pathOf } from "./made_tokenizers.ts";
import { testUnless } from "./test_unless.ts";

const noJinja = await loadNpm("@huggingface/jinja")
  .then(() => null, (error) => (error as Error).message);

const chat = [{ role: "user", content: " Hi! " }, { role: "assistant", content: "Yes?" }];

const PHI = "../shared/tokenizers/llama-hf";
testUnless(noJinja ?? absent(PHI), "Phi's template of tokenizer_config.json", async () => {
  const template = await openChatTemplate(pathOf(PHI));
  assert.equal(
    template(chat),
    "<|user|>\n Hi! <|end|>\n<|assistant|>\nYes?<|end|>\n<|assistant|>\n",
  );
  assert.equal(
    template(chat.slice(0, 1), { addGenerationPrompt: false }),
    "<|user|>\n Hi! <|end|>\n<|endoftext|>",
  );
});

const llama3 = await llama3Files();
testUnless(
  noJinja ?? (typeof llama3 === "string" ? llama3 : null),
  "LLaMA-3's template",
  () =>
    inTokenizerFolder(llama3 as Record<string, unknown>, async (folder) => {
      assert.equal(
        (await openChatTemplate(folder))(chat.slice(0, 1)),
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|>" +
          "<|start_header_id|>assistant<|end_header_id|>\n\n",
      );
    }),
);

const withFiles = (files: Record<string, unknown>, claim: string, text: string | RegExp) =>
  testUnless(noJinja, claim, () =>
    inTokenizerFolder(files, async (folder) => {
      if (typeof text === "string") assert.equal((await openChatTemplate(folder))(chat), text);
      else await assert.rejects(openChatTemplate(folder), text);
    }));

withFiles(
  { "chat_template.jinja": "a", "tokenizer_config.json": { chat_template: "b" } },
  "chat_template.jinja goes before tokenizer_config.json",
  "a",
);
withFiles(
  {
    "tokenizer_config.json": {
      bos_token: { content: "<s>" },
      chat_template: [{ name: "tools", template: "t" }, {
        name: "default",
        template: "{{ bos_token }}",
      }],
    },
  },
  "of several templates the default one counts, and special tokens have their names",
  "<s>",
);
withFiles({}, "a model without a template is refused", /must have a chat template: got neither/);
withFiles(
  { "chat_template.jinja": "{% for" },
  "what is no template is refused in one line",
  /^SyntaxError: Cannot read the chat template as it must be sound: got ".+"$/,
);
withFiles(
  { "chat_template.jinja": "a".repeat(50_001) },
  "a template of 50,001 characters is refused",
  /at most 50000 characters: got 50001$/,
);

testUnless(noJinja, "a template can refuse the messages", async () => {
  const template = await compileChatTemplate("{{ raise_exception('roles must alternate') }}");
  assert.throws(() => template(chat), /^Error: .*got "roles must alternate"$/);
});

testUnless(noJinja, "a long chat is within the budget", async () => {
  const template = await compileChatTemplate(
    "{% for m in messages %}{% set c = '<' + m['role'] + '>' + m['content'] | trim + '\n' %}" +
      "{{ c }}{% endfor %}",
  );
  const long = Array.from({ length: 1000 }, () => ({ role: "user", content: "x".repeat(2000) }));
  assert.equal(template(long).length, 1000 * 2007);
});

/** Templates that would run for hours or fill the memory. */
const bombs = [
  "{% for i in range(10000000000) %}x{% endfor %}",
  "{% for i in range(1, 2, 0) %}x{% endfor %}",
  "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
  "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
  "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
  "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
  "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}",
  "{% set n = namespace(s='ab') %}{% for i in range(22) %}{% set n.s = n.s ~ n.s %}{% endfor %}" +
  "{{ n.s.replace('', n.s) }}",
  "{% set a = range(90000) %}{% for i in a %}{% if 'x' in a %}{% endif %}{% endfor %}",
  "{{ 'a' | indent(1000000000, true) }}",
  `${"{% if true %}".repeat(2000)}x${"{% endif %}".repeat(2000)}`,
  `{{ ${"(".repeat(20000)}1${")".repeat(20000)} }}`,
  `${" ".repeat(49_000)}x{{ 1 }}`,
  `${"\n ".repeat(24_000)}{{ raise_exception('end') }}`,
];

for (const template of bombs) {
  testUnless(noJinja, `${template.trim().slice(0, 60)} ends soon`, async () => {
    const start = performance.now();
    try {
      (await compileChatTemplate(template))(chat);
    } catch (error) {
      assert.match((error as Error).message, /^Cannot (read|fill in) the chat template as .+$/);
    }
    assert.ok(performance.now() - start < 20_000);
  });
}

test("strftime() knows the letters that templates use", () => {
  const date = new Date(2024, 6, 4, 9, 5);
  assert.equal(strftime(date, "%d %b %Y, %B %m, %H:%M %% %q"), "04 Jul 2024, July 07, 09:05 % %q");
});
