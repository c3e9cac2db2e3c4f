import { useEffect, useRef } from "preact/hooks";
import { type DeviceChoice, deviceChoices } from "../protocol.js";
import { defaultSettings, type Settings } from "../settings.js";
import { Cross } from "./icons.js";

interface SettingsDialogProps {
  readonly isOpen: boolean;
  readonly settings: Settings;
  readonly canThink: boolean;
  onChange(settings: Settings): void;
  onClose(): void;
}

const deviceNames: Readonly<Record<DeviceChoice, string>> = { auto: "Automatic", webgpu: "WebGPU", cpu: "CPU" };

/** Changes hold from the next question on; another device loads the model anew. */
export function SettingsDialog({ isOpen, settings, canThink, onChange, onClose }: SettingsDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isOpen]);
  const set = (change: Partial<Settings>) => onChange({ ...settings, ...change });

  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: a click beside the dialog closes it; with the keyboard, Escape does.
    <dialog
      ref={dialog}
      class="settings"
      aria-labelledby="settings-title"
      onClose={onClose}
      onClick={(event) => event.target === dialog.current && onClose()}
    >
      <form method="dialog" class="settings-body">
        <div class="settings-head">
          <h2 id="settings-title">Settings</h2>
          <button type="submit" class="quiet" aria-label="Close">
            <Cross />
          </button>
        </div>

        <fieldset class="segments">
          <legend>Device</legend>
          {deviceChoices.map((choice) => (
            <label key={choice}>
              <input
                type="radio"
                name="device"
                checked={settings.device === choice}
                onChange={() => set({ device: choice })}
              />
              <span>{deviceNames[choice]}</span>
            </label>
          ))}
        </fieldset>

        <label class="row">
          <span>
            Thinking
            <small>The model works the answer out before it gives it.</small>
          </span>
          <input
            type="checkbox"
            class="switch"
            checked={canThink && settings.enableThinking}
            disabled={!canThink}
            onChange={(event) => set({ enableThinking: event.currentTarget.checked })}
          />
        </label>

        <label class="row">
          <span>
            Thinking budget
            <small>Tokens of thought at most; empty: no limit.</small>
          </span>
          <input
            type="number"
            min={0}
            step={1}
            placeholder="none"
            value={settings.thinkingBudget ?? ""}
            disabled={!canThink || !settings.enableThinking}
            onChange={({ currentTarget }) =>
              set({
                thinkingBudget:
                  currentTarget.value === "" ? undefined : wholeOr(currentTarget, settings.thinkingBudget),
              })
            }
          />
        </label>

        <label class="row">
          <span>
            Answer at most
            <small>Tokens, thinking included.</small>
          </span>
          <input
            type="number"
            min={1}
            step={1}
            value={settings.maxTokens}
            onChange={({ currentTarget }) =>
              set({ maxTokens: wholeOr(currentTarget, settings.maxTokens) ?? defaultSettings.maxTokens })
            }
          />
        </label>

        <label class="row">
          <span>
            Temperature
            <small>0: always the most probable token.</small>
          </span>
          <span class="slider">
            <input
              type="range"
              min={0}
              max={1.5}
              step={0.05}
              value={settings.temperature}
              onInput={(event) => set({ temperature: event.currentTarget.valueAsNumber })}
            />
            <output>{settings.temperature.toFixed(2)}</output>
          </span>
        </label>
      </form>
    </dialog>
  );
}

/** The field's whole number, or `otherwise` where it holds none that is allowed; the field then shows that again. */
function wholeOr(field: HTMLInputElement, otherwise: number | undefined): number | undefined {
  const { valueAsNumber: value } = field;
  if (Number.isInteger(value) && field.validity.valid) return value;
  field.value = otherwise === undefined ? "" : String(otherwise);
  return otherwise;
}
