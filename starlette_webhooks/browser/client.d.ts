/** An event, as `GET /events` lists it. */
export interface WebhookEvent<Data = Record<string, unknown>> {
  id: string;
  eventType: string;
  payload: { type: string; timestamp: string; data: Data; test?: true };
  timestamp: string;
  test?: true;
}

export interface StreamOptions {
  /** The URL of the API. By default, where this module was loaded from. */
  url?: string;
  /** The API key, or a function that returns the current one. It is called again when the server answers 401. */
  key?: string | (() => string | Promise<string>);
  /** More headers of each request. */
  headers?: Record<string, string>;
  /** The id of an event after which to start. By default, the stream starts now. */
  after?: string | null;
  /** Only these event types. */
  eventTypes?: readonly string[];
  /** Only events with this channel. */
  channel?: string;
  /** Milliseconds without a byte after which the stream reconnects. 30,000 by default. */
  timeout?: number;
  /**
   * Milliseconds after which a hidden page disconnects, until it is visible again. It misses nothing.
   * 30,000 by default. `Infinity` keeps it connected.
   */
  hiddenAfter?: number;
  /** Ends the stream. */
  signal?: AbortSignal;
}

/** Events, each of which it yields once. It reconnects and resumes forever. */
export interface EventStream<Event extends WebhookEvent = WebhookEvent> extends AsyncIterableIterator<Event> {
  /** What to pass as `after` to continue later. `null` before the first connection. */
  readonly lastEventId: string | null;
  /** Ends the stream. */
  close(): void;
}

/**
 * Returns a stream of events: `for await (const event of stream())`.
 *
 * Iterating throws `Gap` if events are missing, and `APIError` if the server refuses the stream permanently.
 */
export function stream<Event extends WebhookEvent = WebhookEvent>(options?: StreamOptions): EventStream<Event>;

/** The server refused a call permanently. */
export class APIError extends Error {
  constructor(status: number, error?: { code?: string; detail?: string });
  readonly status: number;
  readonly code: string;
  readonly detail: string;
}

/** Events are missing, because they are no longer stored. Iterate again to continue. */
export class Gap extends Error {
  constructor(gap: { requested: string; oldest: string | null });
  readonly requested: string;
  readonly oldest: string | null;
}

/** The URL of the API, if this module was loaded from it. */
export const API: string;
