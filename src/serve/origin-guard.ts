/**
 * Keeps foreign web pages away from a server that is meant for this machine alone.
 *
 * Two ways in: a page whose own name was pointed to 127.0.0.1 (DNS rebinding; its requests carry that name as Host), and a
 * page that posts blindly (its requests carry its Origin).
 */
import type { MiddlewareHandler } from "hono";
import { ApiError, errorResponse } from "./api-error.js";

/** Whether an address to listen on can be reached from this machine alone. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d+){3}$/.test(host);
}

/**
 * Refuses requests to other names than this machine's, and those of other origins.
 *
 * @param allowedOrigin an origin that may call, or `*`.
 */
export function originGuard(allowedOrigin: string | undefined): MiddlewareHandler {
  return async (c, next) => {
    const host = c.req.header("host") ?? new URL(c.req.url).host;
    const name = host.replace(/:\d+$/, "").toLowerCase();
    if (!isLoopback(name.replace(/^\[(.*)\]$/, "$1"))) {
      return errorResponse(
        new ApiError(
          403,
          `Host expected localhost, 127.0.0.1 or [::1]; got ${JSON.stringify(host)}. Serve other names with --host.`,
        ),
      );
    }
    const origin = c.req.header("origin");
    if (origin !== undefined && allowedOrigin !== "*" && origin !== allowedOrigin && origin !== `http://${host}`) {
      return errorResponse(
        new ApiError(403, `requests from ${JSON.stringify(origin)} are not allowed. Allow them with --cors ${origin}.`),
      );
    }
    return next();
  };
}
