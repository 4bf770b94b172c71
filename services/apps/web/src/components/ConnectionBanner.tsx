// Says that what is on the page may be old, for as long as it may be.

import { Banner, Button, Spinner } from "../patternfly";
import { useEffect, useState } from "react";
import { spanText } from "../format";
import { useLive, useNode } from "../node";

export function ConnectionBanner() {
  const { connection, loaded } = useNode();
  const live = useLive();
  if (connection.state !== "lost") return null;
  const what =
    connection.how === "away"
      ? "Connection to the node lost, retrying."
      : "The node answers, but not with its state; retrying. Its services may be starting.";
  return (
    <Banner status="danger" className="sk-banner" role="alert">
      <span className="sk-banner-text">
        <Spinner size="sm" isInline aria-label="Retrying" />
        <span>
          {what}
          {loaded ? <Age since={connection.since} /> : null}
        </span>
        <Button variant="link" isInline onClick={live.refresh}>
          Retry now
        </Button>
      </span>
    </Banner>
  );
}

function Age({ since }: { since: number }) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  const age = (now - since) / 1_000;
  if (age < 5) return null;
  // Not announced every second by screen readers.
  return <span aria-hidden="true"> What you see is {spanText(age)} old or more.</span>;
}
