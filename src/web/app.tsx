/** The page: header, conversation, composer, status, settings. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { Composer } from "./components/composer.js";
import { Failure } from "./components/failure.js";
import { Header } from "./components/header.js";
import { Loading } from "./components/loading.js";
import { SettingsDialog } from "./components/settings-dialog.js";
import { StatusLine } from "./components/status-line.js";
import { Transcript } from "./components/transcript.js";
import { Welcome } from "./components/welcome.js";
import type { LoadRequest } from "./protocol.js";
import { loadRequest, loadSettings, readAddress, type Settings, saveSettings } from "./settings.js";
import { useEngine } from "./use-engine.js";

export function App() {
  const [settings, setSettings] = useState<Settings>(initialSettings);
  const [areSettingsOpen, setSettingsOpen] = useState(false);
  const request = useMemo(() => requestFor(settings), [settings.device]);
  const view = useEngine(request, settings);
  const { engine, conversation, isAnswering } = view;
  const info = engine.phase === "ready" ? engine.info : undefined;

  const change = (changed: Settings) => {
    setSettings(changed);
    saveSettings(changed);
  };

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || areSettingsOpen || !isAnswering) return;
      event.preventDefault();
      view.stop();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  });

  return (
    <div class="page">
      <Header
        modelName={info?.name}
        canClear={conversation.length > 0}
        onClear={view.clear}
        onSettings={() => setSettingsOpen(true)}
      />
      {conversation.length === 0 ? (
        <Welcome canAsk={info !== undefined} onAsk={view.ask} />
      ) : (
        <Transcript conversation={conversation} canAskAgain={info !== undefined} onAskAgain={view.askAgain} />
      )}
      <footer class="foot">
        {engine.phase === "loading" && <Loading stage={engine.stage} done={engine.done} total={engine.total} />}
        {engine.phase === "failed" && <Failure message={engine.message} onRetry={view.reload} />}
        <Composer canSend={info !== undefined} isAnswering={isAnswering} onSend={view.ask} onStop={view.stop} />
        <StatusLine info={info} turn={conversation.at(-1)} />
      </footer>
      <SettingsDialog
        isOpen={areSettingsOpen}
        settings={settings}
        canThink={info?.canThink ?? true}
        onChange={change}
        onClose={() => setSettingsOpen(false)}
      />
    </div>
  );
}

/** What is stored, with the address's device before it. */
function initialSettings(): Settings {
  const stored = loadSettings();
  try {
    return { ...stored, device: readAddress(location.href).device ?? stored.device };
  } catch {
    return stored; // requestFor says what is wrong with the address
  }
}

function requestFor({ device }: Settings): LoadRequest | Error {
  try {
    return loadRequest(readAddress(location.href), device);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
