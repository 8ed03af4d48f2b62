// Routes live in the part of an address after "#", so that links can be shared and work in a file.

import { useEffect, useState } from "preact/hooks";

export const VIEWS = [
  "overview", "lineage", "trial", "failures", "surfaces", "chat", "compare", "evidence",
] as const;
export type ViewName = (typeof VIEWS)[number];

export interface Route {
  campaign: string | null;
  view: ViewName;
  arg: string | null;
  query: URLSearchParams;
}

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [campaign, view, arg] = path.split("/").map(plain);
  const known = VIEWS.find((name) => name === view);
  return {
    campaign: campaign || null,
    view: known ?? "overview",
    arg: arg || null,
    query: new URLSearchParams(query),
  };
}

function plain(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function href(campaign: string, view: ViewName = "overview", arg?: string | number | null, query?: Record<string, string | null>): string {
  const parts = [campaign, view, ...(arg === undefined || arg === null ? [] : [String(arg)])];
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) if (value) search.set(key, value);
  const tail = search.toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${tail ? `?${tail}` : ""}`;
}

/** Go to an address; `replace` leaves no entry in the history, as for a filter that is typed. */
export function go(address: string, replace = false): void {
  if (replace) {
    history.replaceState(null, "", address);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = address;
  }
}

/** Change parameters of the current address, and leave the rest of it as it is. */
export function setQuery(changes: Record<string, string | null>): void {
  const { query } = parseRoute(location.hash);
  for (const [key, value] of Object.entries(changes)) {
    if (value) query.set(key, value);
    else query.delete(key);
  }
  const tail = query.toString();
  go(`${location.hash.split("?", 1)[0] || "#/"}${tail ? `?${tail}` : ""}`, true);
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const moved = (): void => setRoute(parseRoute(location.hash));
    window.addEventListener("hashchange", moved);
    return () => window.removeEventListener("hashchange", moved);
  }, []);
  return route;
}
