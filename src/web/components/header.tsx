import { Bolt, Pencil, Sliders } from "./icons.js";

interface HeaderProps {
  readonly modelName: string | undefined;
  readonly canClear: boolean;
  onClear(): void;
  onSettings(): void;
}

/** The page's name, the model's, and what can be done with the page as a whole. */
export function Header({ modelName, canClear, onClear, onSettings }: HeaderProps) {
  return (
    <header class="head">
      <h1 class="brand">
        <Bolt />
        Fulgur
      </h1>
      {modelName !== undefined && <span class="model-name">{modelName}</span>}
      <div class="head-actions">
        <button type="button" class="quiet" onClick={onClear} disabled={!canClear} aria-label="New chat">
          <Pencil />
          <span class="wide-only">New chat</span>
        </button>
        <button type="button" class="quiet" onClick={onSettings} aria-haspopup="dialog" aria-label="Settings">
          <Sliders />
          <span class="wide-only">Settings</span>
        </button>
      </div>
    </header>
  );
}
