// Tables: sorted by a click on a column's head, and drawn only where they are in sight.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

export interface Column<T> {
  key: string;
  name: string;
  /** What the column is sorted by; a column without is not sorted. */
  by?: (row: T) => number | string | null;
  show: (row: T) => ComponentChildren;
  kind?: "number" | "text" | "wide" | "row";
}

export interface TableProps<T> {
  label: string;
  columns: Column<T>[];
  rows: T[];
  id: (row: T) => string | number;
  /** Sorted at first by this column; down if it begins with "-". */
  sort?: string;
  onSort?: (sort: string) => void;
  empty?: string;
  current?: (row: T) => boolean;
}

function sorted<T>(rows: T[], columns: Column<T>[], sort: string): T[] {
  const down = sort.startsWith("-");
  const by = columns.find((column) => column.key === sort.replace("-", ""))?.by;
  if (!by) return rows;
  const keyed = rows.map((row) => [by(row), row] as const);
  keyed.sort(([a], [b]) => {
    // What is not known comes last either way.
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    const order = typeof a === "string" || typeof b === "string" ? String(a).localeCompare(String(b)) : a - b;
    return down ? -order : order;
  });
  return keyed.map(([, row]) => row);
}

function Head<T>({ columns, sort, onSort }: { columns: Column<T>[]; sort: string; onSort: (sort: string) => void }): JSX.Element {
  const key = sort.replace("-", "");
  return (
    <thead>
      <tr>
        {columns.map((column) => {
          const mine = column.key === key;
          const down = mine && sort.startsWith("-");
          return (
            <th key={column.key} scope="col" class={column.kind} aria-sort={mine ? (down ? "descending" : "ascending") : undefined}>
              {column.by ? (
                <button type="button" onClick={() => onSort(mine && !down ? `-${column.key}` : column.key)}>
                  {column.name}<span aria-hidden="true">{mine ? (down ? " ↓" : " ↑") : ""}</span>
                </button>
              ) : column.name}
            </th>
          );
        })}
      </tr>
    </thead>
  );
}

function Cells<T>({ columns, row }: { columns: Column<T>[]; row: T }): JSX.Element {
  return (
    <>
      {columns.map((column) => column.kind === "row"
        ? <th key={column.key} scope="row" class="row">{column.show(row)}</th>
        : <td key={column.key} class={column.kind}>{column.show(row)}</td>)}
    </>
  );
}

/** A table of a few rows, all of them drawn. */
export function Table<T>(props: TableProps<T>): JSX.Element {
  const [sort, setSort] = useState(props.sort ?? "");
  const rows = useMemo(() => sorted(props.rows, props.columns, sort), [props.rows, props.columns, sort]);
  if (props.rows.length === 0 && props.empty !== undefined) return <p class="muted">{props.empty}</p>;
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label={props.label}>
      <table aria-label={props.label}>
        <Head columns={props.columns} sort={sort} onSort={setSort} />
        <tbody>
          {rows.map((row) => <tr key={props.id(row)} class={props.current?.(row) ? "current" : undefined}><Cells columns={props.columns} row={row} /></tr>)}
        </tbody>
      </table>
    </div>
  );
}

const ROW = 30;
const AROUND = 12;

/** A table of any length: rows have one height, and those out of sight are room only. */
export function LongTable<T>(props: TableProps<T>): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [sort, setSort] = useState(props.sort ?? "");
  const [[first, last], setSpan] = useState<[number, number]>([0, 60]);
  const rows = useMemo(() => sorted(props.rows, props.columns, sort), [props.rows, props.columns, sort]);
  const look = (): void => {
    const element = box.current;
    if (!element) return;
    const top = Math.max(0, Math.floor(element.scrollTop / ROW) - AROUND);
    const bottom = Math.ceil((element.scrollTop + element.clientHeight) / ROW) + AROUND;
    setSpan((old) => (old[0] === top && old[1] === bottom ? old : [top, bottom]));
  };
  useEffect(look, [rows.length]);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(look);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const from = Math.min(first, Math.max(0, rows.length - 1));
  const shown = rows.slice(from, last);
  return (
    <div class="table-box long" tabIndex={0} role="region" aria-label={props.label} ref={box} onScroll={look}>
      <table aria-label={props.label} aria-rowcount={rows.length + 1}>
        <Head columns={props.columns} sort={sort} onSort={(to) => { setSort(to); props.onSort?.(to); }} />
        <tbody>
          <Room height={from * ROW} />
          {shown.map((row, i) => (
            <tr key={props.id(row)} aria-rowindex={from + i + 2} class={props.current?.(row) ? "fixed current" : "fixed"}>
              <Cells columns={props.columns} row={row} />
            </tr>
          ))}
          <Room height={Math.max(0, rows.length - from - shown.length) * ROW} />
        </tbody>
      </table>
      {rows.length === 0 && <p class="muted">{props.empty ?? "nothing"}</p>}
    </div>
  );
}

function Room({ height }: { height: number }): JSX.Element {
  const ref = useRef<HTMLTableRowElement>(null);
  useEffect(() => {
    if (ref.current) ref.current.style.height = `${height}px`;
  }, [height]);
  return <tr class="room" aria-hidden="true" ref={ref} />;
}
