// Shown while the node has not yet said which screen is due.

import { Alert, Spinner } from "../patternfly";
import { Frame } from "../components/Frame";

export function Waiting({ problem }: { problem: string | null }) {
  if (problem === null) {
    return (
      <main className="sk-frame">
        <Spinner aria-label="Loading" />
      </main>
    );
  }
  return (
    <Frame title="Waiting for the node">
      <Alert variant="warning" isInline title="The node does not answer yet, retrying.">
        {problem} The page goes on by itself when the node is back.
      </Alert>
    </Frame>
  );
}
