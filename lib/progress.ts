/**
 * A one-line progress bar for long work, redrawn in place:
 *
 *   model.layers.3.mlp.up_proj.weight  ########------------  41 %  1.2 of 2.9 GB  0:07 left
 *
 * It draws on a terminal only, at most ten times a second, and never past the terminal's width;
 * elsewhere every call does nothing. It counts bytes, which share out time better than tensors do,
 * unless told another unit. It does not own a stream: the caller hands in `write`, so that only the
 * command line prints.
 *
 * @module
 */

/** How to draw: `columns` of the terminal, colours or none, and a clock in ms. */
export interface ProgressOptions {
  readonly write: (text: string) => void;
  readonly terminal: boolean;
  readonly columns?: () => number;
  readonly color?: boolean;
  readonly now?: () => number;
}

/** `update` draws how much of how much is done, and on what; `finish` wipes the line. */
export interface Progress {
  /** `unit`: what is counted, "bytes" unless told. */
  update(done: number, total: number, what: string, unit?: string): void;
  finish(): void;
}

const REDRAW_MS = 100;
const BAR_CELLS = 24;
const WIPE_LINE = "\r\x1b[2K";

/** A progress bar; silent where `terminal` is false. */
export function createProgress(options: ProgressOptions): Progress {
  const now = options.now ?? (() => performance.now());
  const start = now();
  let drawnAt = -Infinity;
  return {
    update(done, total, what, unit) {
      if (!options.terminal || now() - drawnAt < REDRAW_MS) return;
      drawnAt = now();
      const columns = (options.columns?.() || 80) - 1;
      const line = progressLine({ done, total, what, unit, ms: drawnAt - start, columns });
      options.write(WIPE_LINE + (options.color ? line.replace(/#+/, "\x1b[36m$&\x1b[39m") : line));
    },
    finish() {
      if (options.terminal && drawnAt > -Infinity) options.write(WIPE_LINE);
      drawnAt = -Infinity;
    },
  };
}

/** The bar's text, at most `columns` wide: what is being done gives way first, then the bar. */
export function progressLine(at: {
  done: number;
  total: number;
  what: string;
  /** "bytes" unless told. */
  unit?: string;
  /** Since the start. */
  ms: number;
  columns: number;
}): string {
  const part = at.total > 0 ? Math.min(1, at.done / at.total) : 1;
  const filled = Math.round(part * BAR_CELLS);
  const bar = "#".repeat(filled) + "-".repeat(BAR_CELLS - filled);
  const left = part > 0 && at.ms > 1000 ? `  ${clock(at.ms * (1 / part - 1))} left` : "";
  const counted = at.unit === undefined
    ? `${bytesText(at.done)} of ${bytesText(at.total)}`
    : `${at.done} of ${at.total} ${at.unit}`;
  const counts = `${String(Math.floor(part * 100)).padStart(3)} %  ${counted}${left}`;
  const room = at.columns - counts.length - bar.length - 4;
  const what = printable(at.what);
  if (room >= 8) return `${shorten(what, room)}  ${bar}  ${counts}`;
  return counts.slice(0, Math.max(0, at.columns));
}

/** Bytes for people: "17 B", "1.2 GB" (decimal, as disks are sold). */
export function bytesText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) {
    bytes /= 1000;
    unit++;
  }
  return `${bytes >= 9.95 || unit === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

/** Milliseconds as m:ss or h:mm:ss. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Text with control characters, which a tensor's name may hold, as `?`: they steer terminals. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, "?");
}

/** At most `width` characters, the end kept: the ends of tensor names differ. */
function shorten(text: string, width: number): string {
  return text.length <= width ? text : `...${text.slice(text.length - width + 3)}`;
}
