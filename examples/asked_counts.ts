/**
 * How much an example takes, as told after its name: whole numbers in order or each by its name, or
 * `--full` where there is more to take. Anything else ends it with one line and exit code 2.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";

/** Counts in the order in which they may be told. */
type Counts<Name extends string> = Readonly<Record<Name, number>>;

/** The counts that are told, the `usual` ones where none is; `full` ones with `--full`. */
export function askedCounts<Name extends string>(
  usual: Counts<Name>,
  full?: Counts<Name>,
): Counts<Name> {
  const names = Object.keys(usual) as Name[];
  const counts: Record<Name, number> = { ...usual };
  const flags = Object.fromEntries(names.map((name) => [name, { type: "string" as const }]));
  const { tokens } = parseArgs({ options: flags, strict: false, tokens: true });
  let told = 0;
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    const name = token.kind === "option" ? token.name as Name : names[told++];
    const word = token.kind === "option" ? token.rawName : token.value;
    if (token.kind === "option" && name === "full" && full) Object.assign(counts, full);
    else if (names.includes(name)) counts[name] = readCount(name, token.value ?? "");
    else refuse(`understand ${JSON.stringify(word)}`, `there is ${usage(names, full)}`);
  }
  return counts;
}

function readCount(name: string, word: string): number {
  if (/^[1-9]\d{0,8}$/.test(word)) return Number(word);
  const got = JSON.stringify(word);
  return refuse(`read ${got}`, `--${name} must be a whole number from 1: got ${got}`);
}

/** What may be told. */
function usage(names: readonly string[], full: unknown): string {
  const flags = names.map((name) => `--${name} N`).join(", ");
  return full ? `${flags} and --full` : flags;
}

function refuse(what: string, why: string): never {
  console.error(`Cannot ${what} as ${why}`);
  process.exit(2);
}
