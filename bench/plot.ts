/**
 * Plots as SVG: a panel with two axes, points, lines and a legend; nothing is computed here. Sizes are in
 * pixels at the plot's own width.
 *
 * @module
 */

/** An axis from least to most; ticks are where numbers stand. */
export interface Axis {
  readonly label: string;
  readonly least: number;
  readonly most: number;
  readonly log: boolean;
  readonly ticks: readonly number[];
}

/** How a mark looks: `hollow` circles, squares, triangles or crosses, and dashed lines. */
export interface Style {
  readonly color: string;
  readonly mark?: "circle" | "square" | "triangle" | "cross";
  readonly hollow?: boolean;
  readonly dash?: boolean;
}

/** Points in the axes' units, joined where they are a line. */
export interface Series {
  readonly label: string;
  readonly style: Style;
  readonly points: readonly (readonly [number, number])[];
  readonly line: boolean;
}

/** One panel. */
export interface Panel {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
}

const WIDTH = 900, PANEL_HEIGHT = 460;
const AREA = { left: 78, top: 46, right: 208, bottom: 58 };
const FONT = 'font-family="Helvetica, Arial, DejaVu Sans, sans-serif"';

/** Panels below one another, as one SVG. */
export function svgOf(panels: readonly Panel[]): string {
  const height = PANEL_HEIGHT * Math.max(1, panels.length);
  const drawn = panels.map((panel, i) =>
    `<g transform="translate(0 ${i * PANEL_HEIGHT})">\n${panelOf(panel)}\n</g>`
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" ` +
    `viewBox="0 0 ${WIDTH} ${height}" ${FONT} font-size="13" fill="#222">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    ...drawn,
    "</svg>\n",
  ].join("\n");
}

/** Axis from the data: powers of ten, or of two, or round steps from 0. */
export function axisOf(
  label: string,
  values: readonly number[],
  kind: "tens" | "twos" | "linear",
): Axis {
  const [least, most] = values.length === 0 ? [1, 10] : [Math.min(...values), Math.max(...values)];
  if (kind === "linear") return linearAxis(label, most);
  const base = kind === "tens" ? 10 : 2;
  const low = Math.floor(Math.log(least) / Math.log(base) + 0.05); // a mark may stand on the edge
  const high = Math.max(low + 1, Math.ceil(Math.log(most) / Math.log(base) - 1e-9));
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => base ** (low + i));
  return { label, least: ticks[0], most: ticks.at(-1)!, log: true, ticks };
}

function linearAxis(label: string, most: number): Axis {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100].find((step) => most / step <= 8) ?? most;
  const count = Math.max(1, Math.ceil(1.03 * most / step));
  const ticks = Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(6)));
  return { label, least: 0, most: ticks.at(-1)!, log: false, ticks };
}

function panelOf({ title, x, y, series }: Panel): string {
  const right = WIDTH - AREA.right, bottom = PANEL_HEIGHT - AREA.bottom;
  const atX = placed(x, AREA.left, right), atY = placed(y, bottom, AREA.top);
  const box = `<rect x="${AREA.left}" y="${AREA.top}" width="${right - AREA.left}" ` +
    `height="${bottom - AREA.top}"`;
  const id = `area${Math.abs(hash(title))}`;
  return [
    text(AREA.left, 26, title, 'font-size="16" font-weight="bold"'),
    ...x.ticks.map((tick) => grid(atX(tick), bottom, atX(tick), AREA.top)),
    ...y.ticks.map((tick) => grid(AREA.left, atY(tick), right, atY(tick))),
    ...x.ticks.map((tick) => text(atX(tick), bottom + 19, number(tick), 'text-anchor="middle"')),
    ...y.ticks.map((tick) => text(AREA.left - 8, atY(tick) + 4, number(tick), 'text-anchor="end"')),
    `${box} fill="none" stroke="#444"/>`,
    text((AREA.left + right) / 2, bottom + 44, x.label, 'text-anchor="middle"'),
    text(
      0,
      0,
      y.label,
      `text-anchor="middle" transform="translate(20 ${(AREA.top + bottom) / 2}) rotate(-90)"`,
    ),
    `<clipPath id="${id}">${box}/></clipPath>`,
    ...series.map((one) => seriesOf(one, atX, atY, `clip-path="url(#${id})"`)),
    ...series.map((one, i) => legendOf(one, right + 16, AREA.top + 10 + 20 * i)),
  ].join("\n");
}

/** Where a value stands between two pixels. */
function placed({ least, most, log }: Axis, from: number, to: number): (value: number) => number {
  const f = log ? Math.log : (value: number) => value;
  return (value) => round(from + (to - from) * (f(value) - f(least)) / (f(most) - f(least)));
}

function seriesOf(
  { style, points, line }: Series,
  atX: (value: number) => number,
  atY: (value: number) => number,
  clip: string,
): string {
  const at = points.map(([x, y]) => [atX(x), atY(y)] as const);
  const path = line && at.length > 1
    ? `<polyline points="${at.map((p) => p.join(",")).join(" ")}" ${clip} ${stroke(style)}/>`
    : "";
  return path + (style.mark ? at.map(([x, y]) => mark(x, y, style)).join("") : "");
}

function legendOf({ label, style, line }: Series, x: number, y: number): string {
  return [
    line ? `<line x1="${x}" y1="${y}" x2="${x + 32}" y2="${y}" ${stroke(style)}/>` : "",
    style.mark ? mark(x + 16, y, style) : "",
    text(x + 40, y + 4, label, 'font-size="12"'),
  ].join("");
}

function stroke({ color, dash }: Style): string {
  return `fill="none" stroke="${color}" stroke-width="2"${dash ? ' stroke-dasharray="6 4"' : ""}`;
}

function mark(x: number, y: number, { color, mark, hollow }: Style): string {
  const paint = `fill="${
    hollow ? "#fff" : color
  }" stroke="${color}" stroke-width="1.6" fill-opacity="0.75"`;
  const r = 4.2;
  if (mark === "circle") return `<circle cx="${x}" cy="${y}" r="${r}" ${paint}/>`;
  if (mark === "square") {
    return `<rect x="${round(x - r)}" y="${round(y - r)}" width="${2 * r}" height="${
      2 * r
    }" ${paint}/>`;
  }
  if (mark === "triangle") {
    const points = [[x, y - r - 1], [x + r + 1, y + r], [x - r - 1, y + r]];
    return `<polygon points="${points.map((p) => p.map(round).join(",")).join(" ")}" ${paint}/>`;
  }
  const [a, b, c, d] = [x - r, x + r, y - r, y + r].map(round);
  return `<path d="M${a} ${c}L${b} ${d}M${a} ${d}L${b} ${c}" stroke="${color}" stroke-width="2"/>`;
}

function grid(x1: number, y1: number, x2: number, y2: number): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="#e2e2e2"/>`;
}

function text(x: number, y: number, content: string, how: string): string {
  const escaped = content.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  return `<text x="${x}" y="${y}" ${how}>${escaped}</text>`;
}

/** A tick's number: 0.01, 1, 1000, 1e6. */
function number(value: number): string {
  return value >= 1e6 || (value > 0 && value < 1e-3)
    ? value.toExponential(0).replace("+", "")
    : String(value);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** A number for a name, the same each time. */
function hash(name: string): number {
  return [...name].reduce((sum, letter) => (31 * sum + letter.charCodeAt(0)) | 0, 7);
}
