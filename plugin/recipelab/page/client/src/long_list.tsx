// A list of any length whose items have heights of their own: only those in sight are drawn.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export interface LongListProps {
  label: string;
  count: number;
  /** A height to begin with, in pixels, until an item was drawn. */
  guess: number;
  item: (index: number) => ComponentChildren;
  /** The item that is brought into sight when this changes. */
  at?: number | null;
  /** Whether to stay at the end as items are added. */
  follow?: boolean;
  /** Forgets heights when it changes: the items are others now. */
  of: string;
}

const AROUND = 600;

export function LongList(props: LongListProps): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const inside = useRef<HTMLOListElement>(null);
  const heights = useRef<Map<number, number>>(new Map());
  const tops = useRef<Float64Array>(new Float64Array(1));
  const [span, setSpan] = useState<[number, number]>([0, 20]);
  const [, redraw] = useState(0);
  const atEnd = useRef(props.follow === true);

  const measure = (): void => {
    const { count, guess } = props;
    if (tops.current.length !== count + 1) tops.current = new Float64Array(count + 1);
    let top = 0;
    for (let i = 0; i < count; i++) {
      tops.current[i] = top;
      top += heights.current.get(i) ?? guess;
    }
    tops.current[count] = top;
  };
  const indexAt = (y: number): number => {
    let low = 0;
    let high = props.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((tops.current[middle + 1] ?? Infinity) <= y) low = middle + 1;
      else high = middle;
    }
    return Math.min(low, Math.max(0, props.count - 1));
  };
  const look = (): void => {
    const element = box.current;
    if (!element) return;
    const first = indexAt(element.scrollTop - AROUND);
    const last = Math.min(props.count, indexAt(element.scrollTop + element.clientHeight + AROUND) + 1);
    setSpan((old) => (old[0] === first && old[1] === last ? old : [first, last]));
  };
  const scrolled = (): void => {
    const element = box.current;
    if (element) atEnd.current = element.scrollTop + element.clientHeight >= element.scrollHeight - 40;
    look();
  };

  useLayoutEffect(() => {
    heights.current.clear();
  }, [props.of]);
  useLayoutEffect(() => {
    measure();
    const element = box.current;
    if (element && props.follow && atEnd.current) element.scrollTop = element.scrollHeight;
    look();
  }, [props.count, props.of]);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element || props.at === undefined || props.at === null) return;
    measure();
    atEnd.current = false;
    if (inside.current) inside.current.style.height = `${tops.current[props.count] ?? 0}px`;
    element.scrollTop = tops.current[Math.min(props.at, props.count)] ?? 0;
    look();
  }, [props.at, props.of, props.count === 0]);

  // Items are measured once they are drawn, and what lies above the view may not move it.
  useLayoutEffect(() => {
    const element = box.current;
    const list = inside.current;
    if (!element || !list) return;
    const anchor = props.at !== null && props.at !== undefined && props.at < span[1] && props.at >= span[0] && Math.abs((tops.current[props.at] ?? 0) - element.scrollTop) < 2
      ? props.at : indexAt(element.scrollTop);
    const before = tops.current[anchor] ?? 0;
    let changed = false;
    for (const child of list.children) {
      const index = Number((child as HTMLElement).dataset["index"]);
      const height = (child as HTMLElement).offsetHeight;
      if (height > 0 && heights.current.get(index) !== height) {
        heights.current.set(index, height);
        changed = true;
      }
    }
    if (changed) {
      measure();
      list.style.height = `${tops.current[props.count] ?? 0}px`;
      if (props.follow && atEnd.current) element.scrollTop = element.scrollHeight;
      else element.scrollTop += (tops.current[anchor] ?? 0) - before;
      look();
      redraw((count) => count + 1);
    } else {
      list.style.height = `${tops.current[props.count] ?? 0}px`;
    }
    for (const child of list.children) {
      const index = Number((child as HTMLElement).dataset["index"]);
      (child as HTMLElement).style.transform = `translateY(${tops.current[index] ?? 0}px)`;
    }
  });
  useEffect(() => {
    const element = box.current;
    const list = inside.current;
    if (!element || !list) return;
    const observer = new ResizeObserver(() => {
      look();
      redraw((count) => count + 1);
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const indexes: number[] = [];
  for (let i = span[0]; i < Math.min(span[1], props.count); i++) indexes.push(i);
  return (
    <div class="long-list" ref={box} onScroll={scrolled} tabIndex={0} role="region" aria-label={props.label}>
      <ol ref={inside}>
        {indexes.map((index) => (
          <li key={index} data-index={index} aria-setsize={props.count} aria-posinset={index + 1}>
            <Watched resized={() => redraw((count) => count + 1)}>{props.item(index)}</Watched>
          </li>
        ))}
      </ol>
    </div>
  );
}

/** Tells when what is in it changes its height, as when a text is unfolded. */
function Watched({ resized, children }: { resized: () => void; children: ComponentChildren }): JSX.Element {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    let first = true;
    const observer = new ResizeObserver(() => {
      if (!first) resized();
      first = false;
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return <div ref={ref}>{children}</div>;
}
