interface FailureProps {
  readonly message: string;
  onRetry(): void;
}

/** The engine cannot be used: why, and the way on. */
export function Failure({ message, onRetry }: FailureProps) {
  return (
    <div class="failure" role="alert">
      <div>
        <strong>The model is not available.</strong>
        <p>{message}</p>
      </div>
      <button type="button" class="quiet outlined" onClick={onRetry}>
        Try again
      </button>
    </div>
  );
}
