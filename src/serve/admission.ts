/** Who may come in: as many requests as the model answers at a time, and a bounded number that waits. */
import { ApiError } from "./api-error.js";

export class Admission {
  private inside = 0;

  /** @param most requests at a time, those that wait included. */
  constructor(readonly most: number) {}

  /** Requests under way or waiting. */
  get active(): number {
    return this.inside;
  }

  /**
   * Takes a place.
   *
   * @returns gives the place back; further calls do nothing.
   * @throws {ApiError} 503 when there is none.
   */
  enter(): () => void {
    if (this.inside >= this.most) {
      throw new ApiError(
        503,
        `${this.most} requests are under way or waiting, as many as this server takes; try again later.`,
        {
          code: "overloaded",
          headers: { "retry-after": "1" },
        },
      );
    }
    this.inside += 1;
    let isInside = true;
    return () => {
      if (isInside) this.inside -= 1;
      isInside = false;
    };
  }
}
