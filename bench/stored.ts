/**
 * How benches name what weights are stored as: a format, and after it, where they are not what the flags
 * say, the storage of scales and the columns that share them.
 *
 *   nf4-asym                          f16 scales, groups as `--group` says
 *   lloyd4g32-asym/e1m3-row/32        scales of 4 bits under a factor a row, groups of 32
 *
 * So formats that cost the same bits can be timed in the same rounds.
 *
 * @module
 */
import { type Format, format as formatOf } from "../lib/format.ts";
import type { Group } from "../lib/pack.ts";
import { readFormat, readGroup, UsageError } from "../lib/read_options.ts";
import { type ScaleFormat, scaleFormat as scaleFormatOf } from "../lib/scale_format.ts";

/** What a name stands for. */
export interface Stored {
  readonly format: Format;
  readonly scaleFormat: ScaleFormat;
  readonly group: Group;
}

/** Reads a name; `group` is for those that say none. */
export function storedOf(name: string, group: Group): Stored {
  const [format, scales = "f16", own] = name.split("/");
  return {
    format: formatOf(format),
    scaleFormat: scaleFormatOf(scales),
    group: own === undefined ? group : readGroup(own),
  };
}

/**
 * The name with its parts as they are always written.
 *
 * @throws {UsageError} if it is none
 */
export function readStored(word: string): string {
  const [format, scales, group, ...more] = word.split("/");
  if (more.length > 0) {
    throw new UsageError(
      `Cannot read "${word}" as a format must be NAME, NAME/SCALES or NAME/SCALES/GROUP: got more`,
    );
  }
  const parts = [readFormat(format).name];
  if (scales !== undefined) parts.push(readScales(scales));
  if (group !== undefined) parts.push(String(readGroup(group)));
  return parts.join("/");
}

function readScales(name: string): string {
  try {
    return scaleFormatOf(name).name;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** The same with one scale a group, where the name has two. */
export function oneSided(name: string): string | undefined {
  return /-asym($|\/)/.test(name) ? name.replace("-asym", "-sym") : undefined;
}
