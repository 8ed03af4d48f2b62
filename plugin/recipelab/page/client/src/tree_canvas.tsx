// The tree of trials on a canvas: drawn, zoomed, moved, and walked by keyboard.

import type { JSX } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { lookOf, signed, statusText, words } from "./format";
import type { Look } from "./format";
import { color, useScheme, useSize } from "./parts";
import { treeOf } from "./tree";
import type { Node, Tree } from "./tree";
import type { TrialRow } from "./types";

export type FailureGroup = "code" | "resources" | "gate" | "rules" | "refused" | "machine";

const GROUPS: Record<FailureGroup, string[]> = {
  code: ["syntax", "import", "name", "shape", "type", "value", "nan", "missing_output", "bad_output", "signal", "other"],
  resources: ["oom", "timeout", "disk", "size", "projected", "processes"],
  gate: ["gate"],
  rules: ["tampering", "rule"],
  refused: ["edit", "duplicate", "declined"],
  machine: ["infrastructure", "killed"],
};

const GROUP_OF = new Map<string, FailureGroup>();
for (const [group, kinds] of Object.entries(GROUPS)) for (const kind of kinds) GROUP_OF.set(kind, group as FailureGroup);

export const FAILURE_GROUPS = Object.keys(GROUPS) as FailureGroup[];

export function failureGroup(row: TrialRow): FailureGroup {
  return GROUP_OF.get(row.failure_kind ?? "other") ?? "code";
}

interface Frame {
  scale: number;
  x: number;
  y: number;
}

const CLOSEST = 4;

export interface TreeCanvasProps {
  rows: TrialRow[];
  head: number | null;
  fits: (row: TrialRow) => boolean;
  filtered: boolean;
  selected: number | null;
  onSelect: (number: number) => void;
  onOpen: (number: number) => void;
}

export function TreeCanvas(props: TreeCanvasProps): JSX.Element {
  const [box, width, height] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const scheme = useScheme();
  const wideEnough = width > 0 && height > 0;
  const tree = useMemo(() => treeOf(props.rows, props.head, wideEnough ? width / height : 2), [props.rows, props.head, wideEnough]);
  const frame = useRef<Frame>({ scale: 1, x: 0, y: 0 });
  const touched = useRef(false);
  const pending = useRef(0);
  const latest = useRef({ props, tree, width, height });
  latest.current = { props, tree, width, height };

  const redraw = (): void => {
    if (pending.current !== 0) return;
    pending.current = requestAnimationFrame(() => {
      pending.current = 0;
      const now = latest.current;
      if (canvas.current && now.width > 0) paint(canvas.current, now.tree, frame.current, now.props, now.width, now.height);
    });
  };
  const fitAll = (): void => {
    const now = latest.current;
    frame.current = fitted(now.tree, now.width, now.height);
    redraw();
  };
  const zoom = (factor: number, atX: number, atY: number): void => {
    const now = frame.current;
    const least = Math.min(0.9 * fitted(latest.current.tree, latest.current.width, latest.current.height).scale, 0.5);
    const scale = Math.min(CLOSEST, Math.max(least, now.scale * factor));
    frame.current = { scale, x: atX - ((atX - now.x) * scale) / now.scale, y: atY - ((atY - now.y) * scale) / now.scale };
    touched.current = true;
    redraw();
  };

  useEffect(() => {
    if (!touched.current && width > 0) frame.current = fitted(tree, width, height);
    redraw();
  }, [tree, width, height, scheme, props.fits, props.selected]);
  useEffect(() => () => cancelAnimationFrame(pending.current), []);

  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    return gestures(element, {
      move: (dx, dy) => {
        frame.current = { ...frame.current, x: frame.current.x + dx, y: frame.current.y + dy };
        touched.current = true;
        redraw();
      },
      zoom,
      press: (x, y) => {
        const node = nodeAt(latest.current.tree, frame.current, x, y);
        if (!node) return;
        if (latest.current.props.selected === node.row.number) latest.current.props.onOpen(node.row.number);
        else latest.current.props.onSelect(node.row.number);
      },
      hover: (x, y) => {
        const node = x === null ? null : nodeAt(latest.current.tree, frame.current, x, y ?? 0);
        element.classList.toggle("over", node !== null);
        showTip(tip.current, node, frame.current, latest.current.width);
      },
    });
  }, []);

  const key = (event: KeyboardEvent): void => {
    const { tree: its, props: now, width: w, height: h } = latest.current;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") zoom(1.3, w / 2, h / 2);
    else if (event.key === "-") zoom(1 / 1.3, w / 2, h / 2);
    else if (event.key === "0") {
      touched.current = false;
      fitAll();
    } else if (event.key === "Enter" && now.selected !== null) now.onOpen(now.selected);
    else if (event.key.startsWith("Arrow")) {
      const node = its.byNumber.get(now.selected ?? -1);
      const next = node ? neighbour(its, node, event.key) : (its.nodes[0] ?? null);
      if (next) {
        now.onSelect(next.row.number);
        frame.current = showing(frame.current, next, w, h);
        redraw();
      }
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div class="tree" ref={box}>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="application"
        aria-roledescription="tree of trials"
        aria-label={`Tree of ${props.rows.length} trials. Arrow keys go from trial to trial, Enter opens one; the table has the same rows.`}
        onKeyDown={key}
      />
      <div class="tree-tip" ref={tip} aria-hidden="true" hidden />
      <div class="tree-zoom">
        <button type="button" aria-label="Closer" onClick={() => zoom(1.4, width / 2, height / 2)}>+</button>
        <button type="button" aria-label="Farther" onClick={() => zoom(1 / 1.4, width / 2, height / 2)}>−</button>
        <button type="button" onClick={() => { touched.current = false; fitAll(); }}>all</button>
      </div>
    </div>
  );
}

function fitted(tree: Tree, width: number, height: number): Frame {
  const room = 24;
  // Labels that cannot be read are of no use: a wide tree begins at its start, and is moved.
  const least = tree.cell.width > 40 ? 0.9 : 0.004;
  const scale = Math.min(1.4, Math.max(least, Math.min((width - 2 * room) / tree.width, (height - 2 * room) / tree.height)));
  return { scale, x: room, y: Math.max(room + 8, Math.min(room + 40, (height - tree.height * scale) / 2)) };
}

/** Move the frame so that a trial is in sight, if it is not. */
function showing(frame: Frame, node: Node, width: number, height: number): Frame {
  const x = node.x * frame.scale + frame.x;
  const y = node.y * frame.scale + frame.y;
  const inside = x > 20 && y > 20 && x < width - 20 && y < height - 20;
  return inside ? frame : { ...frame, x: frame.x + width / 2 - x, y: frame.y + height / 2 - y };
}

function neighbour(tree: Tree, node: Node, key: string): Node | null {
  if (key === "ArrowLeft") return node.parent;
  if (key === "ArrowRight") return node.branches[0] ?? node.leaves[0] ?? null;
  const its = node.parent ? [...node.parent.branches, ...node.parent.leaves] : tree.nodes.filter((other) => other.parent === null);
  const at = its.indexOf(node) + (key === "ArrowDown" ? 1 : -1);
  return its[at] ?? null;
}

function nodeAt(tree: Tree, frame: Frame, x: number, y: number): Node | null {
  const [px, py] = [(x - frame.x) / frame.scale, (y - frame.y) / frame.scale];
  const reach = Math.max(8, 9 / frame.scale);
  let best: Node | null = null;
  let least = reach * reach;
  for (const node of tree.nodes) {
    const off = (node.x - px) ** 2 + (node.y - py) ** 2;
    if (off < least) {
      least = off;
      best = node;
    }
  }
  if (best || tree.cell.width < 40) return best;
  // Where there are labels, they belong to the trial.
  return tree.nodes.find((node) => px >= node.x && px < node.x + tree.cell.width - 12 && Math.abs(py - node.y) < tree.cell.height / 2) ?? null;
}

function showTip(tip: HTMLDivElement | null, node: Node | null, frame: Frame, width: number): void {
  if (!tip) return;
  tip.hidden = node === null;
  if (!node) return;
  const { row } = node;
  const kind = row.failure_kind ? `, ${words(row.failure_kind)}` : "";
  const delta = row.delta === null ? "" : ` ${signed(row.delta)}`;
  tip.textContent = `#${row.number} ${statusText(row)}${kind}${delta}\n${row.specialist} on ${row.surface}\n${row.hypothesis}`;
  const x = node.x * frame.scale + frame.x;
  tip.style.left = `${Math.max(0, Math.min(x + 14, width - 290))}px`;
  tip.style.top = `${node.y * frame.scale + frame.y + 14}px`;
}

const TAU = 2 * Math.PI;
const ORDER: Look[] = ["discarded", "queued", "failed", "gain", "near", "running", "unproven", "kept", "baseline", "certified"];

function tones(): Record<string, string> {
  const names = ["ink", "muted", "faint-ink", "line", "surface", "certified", "kept", "near", "failed", "running", "accent", ...FAILURE_GROUPS.map((group) => `fail-${group}`)];
  return Object.fromEntries(names.map((name) => [name, color(name)]));
}

function toneOf(look: Look, row: TrialRow, tone: Record<string, string>): string {
  switch (look) {
    case "certified": return tone["certified"] as string;
    case "kept": case "unproven": return tone["kept"] as string;
    case "baseline": return tone["ink"] as string;
    case "near": case "gain": return tone["near"] as string;
    case "failed": return tone[`fail-${failureGroup(row)}`] as string;
    case "running": return tone["running"] as string;
    default: return tone["faint-ink"] as string;
  }
}

function paint(canvas: HTMLCanvasElement, tree: Tree, frame: Frame, props: TreeCanvasProps, width: number, height: number): void {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const pen = canvas.getContext("2d");
  if (!pen) return;
  const tone = tones();
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.setTransform(ratio * frame.scale, 0, 0, ratio * frame.scale, ratio * frame.x, ratio * frame.y);
  const sight = { left: -frame.x / frame.scale - 30, top: -frame.y / frame.scale - 30, right: (width - frame.x) / frame.scale + 30, bottom: (height - frame.y) / frame.scale + 30 };
  edges(pen, tree, frame, tone);
  const inSight = tree.nodes.filter((node) => node.x > sight.left - tree.cell.width && node.x < sight.right && node.y > sight.top && node.y < sight.bottom);
  const groups = new Map<string, { look: Look; tone: string; nodes: Node[]; dim: boolean }>();
  for (const node of inSight) {
    const look = lookOf(node.row);
    const dim = props.filtered && !props.fits(node.row);
    const its = toneOf(look, node.row, tone);
    const key = `${look}/${its}/${dim}`;
    const group = groups.get(key);
    if (group) group.nodes.push(node);
    else groups.set(key, { look, tone: its, nodes: [node], dim });
  }
  const sorted = [...groups.values()].sort((a, b) => Number(b.dim) - Number(a.dim) || ORDER.indexOf(a.look) - ORDER.indexOf(b.look));
  for (const group of sorted) {
    pen.globalAlpha = group.dim ? 0.16 : 1;
    shapes(pen, group.nodes, group.look, group.tone, frame.scale, tone["surface"] as string);
  }
  pen.globalAlpha = 1;
  if (tree.cell.width > 40 && frame.scale > 0.55) labels(pen, inSight, tone, props);
  else if (frame.scale > 1.6) numbers(pen, inSight, tone);
  const chosen = tree.byNumber.get(props.selected ?? -1);
  if (chosen) {
    pen.strokeStyle = tone["accent"] as string;
    pen.lineWidth = 2.5 / frame.scale;
    pen.beginPath();
    pen.arc(chosen.x, chosen.y, Math.max(9, 9 / frame.scale), 0, TAU);
    pen.stroke();
  }
}

function edges(pen: CanvasRenderingContext2D, tree: Tree, frame: Frame, tone: Record<string, string>): void {
  pen.lineWidth = 1 / frame.scale;
  pen.strokeStyle = tone["line"] as string;
  pen.beginPath();
  for (const node of tree.nodes) {
    const last = node.leaves.at(-1);
    if (last) {
      // One line down the side of a block stands for all that lie in it.
      const x = node.x;
      pen.moveTo(x, node.y);
      pen.lineTo(x, last.y);
      if (frame.scale > 0.35) {
        let y = -1;
        for (const leaf of node.leaves) {
          if (leaf.y === y) continue;
          y = leaf.y;
          pen.moveTo(x, y);
          pen.lineTo(leaf.x, y);
        }
      }
    }
  }
  pen.stroke();
  pen.lineWidth = Math.max(1.6, 1.6 / frame.scale);
  pen.strokeStyle = tone["muted"] as string;
  pen.globalAlpha = 0.7;
  pen.beginPath();
  for (const node of tree.nodes) {
    for (const branch of node.branches) {
      const bend = branch.x - 8;
      pen.moveTo(node.x, node.y);
      if (branch.y === node.y) pen.lineTo(branch.x, branch.y);
      else {
        pen.lineTo(bend, node.y);
        pen.lineTo(bend, branch.y);
        pen.lineTo(branch.x, branch.y);
      }
    }
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

function shapes(pen: CanvasRenderingContext2D, nodes: Node[], look: Look, tone: string, scale: number, ground: string): void {
  pen.fillStyle = tone;
  pen.strokeStyle = tone;
  pen.lineWidth = 1.6;
  // What matters stays visible from afar.
  const grown = Math.max(1, Math.min(4, 0.55 / scale));
  const small = Math.max(3.5, Math.min(7, 1.1 / scale));
  pen.beginPath();
  for (const { x, y } of nodes) {
    switch (look) {
      case "certified": {
        const r = 4 * grown;
        pen.moveTo(x + r, y);
        pen.arc(x, y, r, 0, TAU);
        break;
      }
      case "kept": case "unproven": {
        const r = 4.6 * grown;
        pen.moveTo(x + r, y);
        pen.arc(x, y, r, 0, TAU);
        break;
      }
      case "discarded":
        pen.moveTo(x + small, y);
        pen.arc(x, y, small, 0, TAU);
        break;
      case "baseline":
        pen.rect(x - 5 * grown, y - 5 * grown, 10 * grown, 10 * grown);
        break;
      case "near": case "gain":
        pen.moveTo(x, y - 5.5);
        pen.lineTo(x + 5.5, y);
        pen.lineTo(x, y + 5.5);
        pen.lineTo(x - 5.5, y);
        pen.closePath();
        break;
      case "failed":
        pen.moveTo(x - small, y - small);
        pen.lineTo(x + small, y + small);
        pen.moveTo(x + small, y - small);
        pen.lineTo(x - small, y + small);
        break;
      case "running":
        pen.moveTo(x - 4, y - 5);
        pen.lineTo(x + 5, y);
        pen.lineTo(x - 4, y + 5);
        pen.closePath();
        break;
      case "queued":
        for (const dx of [-3, 0, 3]) pen.rect(x + dx - 0.8, y - 0.8, 1.6, 1.6);
        break;
    }
  }
  if (look === "failed") pen.stroke();
  else if (look === "discarded" || look === "gain" || look === "unproven") {
    pen.save();
    pen.fillStyle = ground;
    pen.fill();
    pen.restore();
    pen.stroke();
  } else pen.fill();
  if (look === "certified") {
    pen.lineWidth = 2 * grown;
    pen.beginPath();
    for (const { x, y } of nodes) {
      const r = 7.4 * grown;
      pen.moveTo(x + r, y);
      pen.arc(x, y, r, 0, TAU);
    }
    pen.stroke();
  }
}

function labels(pen: CanvasRenderingContext2D, nodes: Node[], tone: Record<string, string>, props: TreeCanvasProps): void {
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  for (const node of nodes) {
    const { row, x, y } = node;
    pen.globalAlpha = props.filtered && !props.fits(row) ? 0.3 : 1;
    const look = lookOf(row);
    const what = row.status === "baseline" ? "start" : row.delta !== null && look !== "failed" ? signed(row.delta) : row.failure_kind ? words(row.failure_kind) : "";
    pen.fillStyle = tone["ink"] as string;
    const name = `${row.number}`;
    // The line to the next trial runs beside a trial that is none of a block: its label stands above.
    const [left, line] = node.packed ? [x + 11, y + 0.5] : [x + 2, y - 15];
    pen.fillText(name, left, line);
    pen.fillStyle = tone["muted"] as string;
    pen.fillText(`${row.surface} ${what}`.trim().slice(0, 17), left + 4 + pen.measureText(name).width, line);
  }
  pen.globalAlpha = 1;
}

function numbers(pen: CanvasRenderingContext2D, nodes: Node[], tone: Record<string, string>): void {
  pen.font = "3.6px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.textAlign = "center";
  pen.fillStyle = tone["muted"] as string;
  for (const { row, x, y } of nodes) pen.fillText(String(row.number), x, y + 7.6);
  pen.textAlign = "start";
}

interface Gestures {
  move: (dx: number, dy: number) => void;
  zoom: (factor: number, x: number, y: number) => void;
  press: (x: number, y: number) => void;
  hover: (x: number | null, y: number | null) => void;
}

/** Follow mouse, pen and fingers on an element, in its own coordinates. */
function gestures(element: HTMLElement, on: Gestures): () => void {
  const held = new Map<number, { x: number; y: number }>();
  let moved = 0;
  const at = (event: MouseEvent): { x: number; y: number } => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const down = (event: PointerEvent): void => {
    held.set(event.pointerId, at(event));
    element.setPointerCapture(event.pointerId);
    if (held.size === 1) moved = 0;
  };
  const move = (event: PointerEvent): void => {
    const now = at(event);
    const before = held.get(event.pointerId);
    if (!before) {
      on.hover(now.x, now.y);
      return;
    }
    const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
    moved += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
    if (other) {
      const apart = (point: { x: number; y: number }): number => Math.hypot(point.x - other.x, point.y - other.y);
      on.zoom(apart(now) / Math.max(1, apart(before)), (now.x + other.x) / 2, (now.y + other.y) / 2);
    } else if (moved > 3) on.move(now.x - before.x, now.y - before.y);
    held.set(event.pointerId, now);
  };
  const up = (event: PointerEvent): void => {
    const was = held.delete(event.pointerId);
    const { x, y } = at(event);
    if (was && held.size === 0 && moved <= 3 && event.type === "pointerup") on.press(x, y);
  };
  const wheel = (event: WheelEvent): void => {
    event.preventDefault();
    const { x, y } = at(event);
    on.zoom(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0016)), x, y);
  };
  const leave = (): void => on.hover(null, null);
  element.addEventListener("pointerdown", down);
  element.addEventListener("pointermove", move);
  element.addEventListener("pointerup", up);
  element.addEventListener("pointercancel", up);
  element.addEventListener("pointerleave", leave);
  element.addEventListener("wheel", wheel, { passive: false });
  return () => {
    element.removeEventListener("pointerdown", down);
    element.removeEventListener("pointermove", move);
    element.removeEventListener("pointerup", up);
    element.removeEventListener("pointercancel", up);
    element.removeEventListener("pointerleave", leave);
    element.removeEventListener("wheel", wheel);
  };
}
