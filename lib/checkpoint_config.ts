/**
 * `quantization_config` in the text of a `config.json`: put in, taken out, looked for. The rest of
 * the text stays as it is, byte for byte: parsing and writing JSON again would turn 1e-05 into
 * 0.00001 and 10000.0 into 10000, which some readers mind.
 *
 * @module
 */
import type { Json } from "./strict_json.ts";

const KEY = "quantization_config";

/** What readers of a quantised checkpoint find in its config.json. */
export interface QuantizationConfig {
  readonly quant_method: "afpq";
  /** "mixed" where matrices differ, as are the next two. */
  readonly format: string;
  readonly group: number | "row" | "mixed";
  /** Storage of scales, where they are codes. */
  readonly scales?: string;
  /** Version of the packed layout. */
  readonly layout: number;
}

/** The method a config says its model is quantised by already; null where it says nothing. */
export function quantizedBy(config: Readonly<Record<string, Json>> | null): string | null {
  for (const part of [config, ...Object.values(config ?? {})]) {
    if (!isObject(part) || !isObject(part[KEY])) continue;
    const method = part[KEY].quant_method;
    return typeof method === "string" ? method : "an unnamed method";
  }
  return null;
}

/**
 * The text of a config (null: there was none) with `quantization_config` as its last entry; one that
 * is there already, which may say null, makes room for it.
 */
export function addQuantizationConfig(text: string | null, config: QuantizationConfig): string {
  const whole = text === null ? "{\n}\n" : removeQuantizationConfig(text);
  const end = whole.lastIndexOf("}");
  const before = whole.slice(0, end).trimEnd();
  const comma = before.endsWith("{") ? "" : ",";
  return `${before}${comma}${entryText(config)}${whole.slice(before.length)}`;
}

/** The text without `quantization_config`; the very text it was put into, if we put it there. */
export function removeQuantizationConfig(text: string): string {
  const place = findEntry(text);
  if (place === null) return text;
  const [start, end] = place, isLast = text[end] === "}", isFirst = text[start - 1] === "{";
  if (!isLast) return text.slice(0, start) + text.slice(end + 1); // with the comma behind it
  const behind = text.slice(start, end).trimEnd().length + start;
  return text.slice(0, isFirst ? start : start - 1) + text.slice(behind);
}

/** Where the entry of an object in JSON lies: behind the brace or comma before, up to the next. */
function findEntry(text: string): [number, number] | null {
  let depth = 0, start = 0, key: string | null = null;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]+|\\.)*"|[{}[\],]/g)) {
    if (token.startsWith('"')) key ??= JSON.parse(token);
    if (depth === 1 && (token === "," || token === "}")) {
      if (key === KEY) return [start, index];
      [start, key] = [index + 1, null];
    }
    if (token === "{" || token === "[") depth++;
    if (token === "}" || token === "]") depth--;
    if (depth === 1 && token === "{") start = index + 1;
  }
  return null;
}

function entryText(config: QuantizationConfig): string {
  const json = JSON.stringify({ [KEY]: config }, null, 2);
  return json.slice(json.indexOf("{") + 1, json.lastIndexOf("\n"));
}

function isObject(value: unknown): value is Record<string, Json> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
