/** Errors as clients of the OpenAI interface expect them: `{ error: { message, type, param, code } }` with an HTTP status. */

/** The statuses that this server answers with. */
export type ErrorStatus = 400 | 403 | 404 | 405 | 413 | 500 | 503;

export interface ApiErrorDetails {
  /** The field of the request at fault. */
  readonly param?: string | undefined;
  readonly code?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly cause?: unknown;
}

/** An answer that is an error. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  constructor(
    readonly status: ErrorStatus,
    message: string,
    readonly details: ApiErrorDetails = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
  }

  /** The body. */
  toJSON(): { error: { message: string; type: string; param: string | null; code: string | null } } {
    const type =
      this.status === 403 ? "permission_error" : this.status >= 500 ? "server_error" : "invalid_request_error";
    const { param = null, code = null } = this.details;
    return { error: { message: this.message, type, param, code } };
  }
}

/** The error as a response. */
export function errorResponse(error: ApiError): Response {
  return Response.json(error, { status: error.status, headers: { ...error.details.headers } });
}
