// Curves, by uPlot.

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { number, tick } from "./format";
import { color, useScheme, useSize } from "./parts";

export interface Curve {
  name: string;
  values: (number | null)[];
  tone: string;
  kind?: "step" | "line" | "points" | "hidden";
  width?: number;
  dash?: number[];
}

export interface ChartProps {
  /** What a reader who cannot see it is told. */
  label: string;
  x: number[];
  xName: string;
  curves: Curve[];
  /** Pairs of curves, by index, between which the chart is filled. */
  bands?: { upper: number; lower: number; tone: string }[];
  height?: number;
  /** Ends of the y axis; by the values if there are none. */
  range?: [number, number] | undefined;
  /** The end of the x axis, where it is not that of the data. */
  xEnd?: number;
  onPick?: (index: number) => void;
}

/** A color of the page with some of it let through. */
function faint(tone: string, share: number): string {
  const hex = color(tone).replace("#", "");
  const parts = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${parts.join(", ")}, ${share})`;
}

/** Steps of an axis that counts. */
const WHOLE = [1, 2, 5].flatMap((step) => [1, 10, 100, 1000, 10000].map((size) => step * size)).sort((a, b) => a - b);

/** Points beyond which they are drawn small and let each other through. */
const MANY = 1500;

const stepped = uPlot.paths.stepped?.({ align: 1 });

function options(props: ChartProps, width: number, height: number): uPlot.Options {
  const ink = color("muted");
  const grid = { stroke: color("line"), width: 1 };
  const font = '11px system-ui, sans-serif';
  const axis = { stroke: ink, grid, ticks: { ...grid, size: 4 }, font, labelFont: font };
  const none = (): null => null;
  return {
    width,
    height,
    legend: { show: false },
    cursor: { points: { size: 7 }, drag: { x: true, y: false } },
    scales: { x: props.xEnd === undefined ? { time: false } : { time: false, range: [0, props.xEnd] }, y: props.range ? { range: () => props.range as [number, number] } : {} },
    axes: [
      { ...axis, ...(props.xName.startsWith("trials") ? { incrs: WHOLE } : {}), size: 30, label: props.xName, labelSize: 18, labelGap: 0, values: (_, ticks) => ticks.map(tick) },
      { ...axis, size: 58, values: (_, ticks) => ticks.map(tick) },
    ],
    series: [
      {},
      ...props.curves.map((curve): uPlot.Series => {
        const stroke = color(curve.tone);
        const base = { label: curve.name, stroke, width: curve.width ?? 1.5, spanGaps: true, ...(curve.dash ? { dash: curve.dash } : {}) };
        if (curve.kind === "points") return { ...base, paths: none, points: { show: true, size: props.x.length > MANY ? 3 : 5, fill: props.x.length > MANY ? faint(curve.tone, 0.55) : stroke, stroke, width: 0 } };
        if (curve.kind === "hidden") return { ...base, width: 0, points: { show: false }, ...(stepped ? { paths: stepped } : {}) };
        return { ...base, points: { show: false }, ...(curve.kind === "step" && stepped ? { paths: stepped } : {}) };
      }),
    ],
    bands: (props.bands ?? []).map((band) => ({ series: [band.upper + 1, band.lower + 1] as [number, number], fill: faint(band.tone, 0.16) })),
  };
}

export function Chart(props: ChartProps): JSX.Element {
  const [box, width] = useSize<HTMLDivElement>();
  const tip = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const scheme = useScheme();
  const latest = useRef(props);
  latest.current = props;
  const height = props.height ?? 260;
  const shape = props.curves.map((curve) => `${curve.name}/${curve.tone}/${curve.kind ?? ""}`).join(",");
  const data = (): uPlot.AlignedData => [props.x, ...props.curves.map((curve) => curve.values)] as uPlot.AlignedData;

  useEffect(() => {
    const holder = box.current;
    if (!holder || width === 0) return;
    const made = new uPlot(
      {
        ...options(latest.current, width, height),
        hooks: { setCursor: [(plot) => tell(plot, tip.current, latest.current)] },
      },
      data(),
      holder,
    );
    chart.current = made;
    let downAt = 0;
    made.over.addEventListener("mousedown", (event) => { downAt = event.clientX; });
    made.over.addEventListener("click", (event) => {
      const index = made.cursor.idx;
      if (Math.abs(event.clientX - downAt) < 4 && typeof index === "number") latest.current.onPick?.(index);
    });
    return () => {
      chart.current = null;
      made.destroy();
    };
  }, [width, height, scheme, shape, props.xName, props.range?.[0], props.range?.[1], props.xEnd]);

  useEffect(() => chart.current?.setData(data()), [props.x, props.curves]);

  return (
    <figure class="chart" role="img" aria-label={props.label}>
      <div ref={box} class="chart-box" />
      <div ref={tip} class="chart-tip" aria-hidden="true" />
      <figcaption class="legend" aria-hidden="true">
        {props.curves.filter((curve) => curve.kind !== "hidden").map((curve) => (
          <span key={curve.name}><Swatch curve={curve} />{curve.name}</span>
        ))}
      </figcaption>
    </figure>
  );
}

function Swatch({ curve }: { curve: Curve }): JSX.Element {
  return (
    <svg viewBox="0 0 18 8" width="18" height="8" class={`tone-${curve.tone}`}>
      {curve.kind === "points"
        ? <circle cx="9" cy="4" r="2.6" class="solid" />
        : <path d="M0 4h18" class="stroke" stroke-dasharray={curve.dash?.join(" ")} />}
    </svg>
  );
}

/** Say in words what is under the pointer. */
function tell(plot: uPlot, tip: HTMLDivElement | null, props: ChartProps): void {
  if (!tip) return;
  const index = plot.cursor.idx;
  if (typeof index !== "number") {
    tip.textContent = "";
    return;
  }
  const parts = [`${props.xName} ${number(props.x[index], 4)}`];
  for (const curve of props.curves) {
    const value = curve.values[index];
    if (curve.kind !== "hidden" && value !== null && value !== undefined) parts.push(`${curve.name} ${number(value)}`);
  }
  tip.textContent = parts.join(" · ");
}
