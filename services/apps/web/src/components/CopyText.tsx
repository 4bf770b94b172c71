// A text to copy, such as a digest, with a button that does it.

import { Button } from "../patternfly";
import CopyIcon from "@patternfly/react-icons/dist/esm/icons/copy-icon";
import { useNotices } from "./Notices";

interface Props {
  /** What it is, for the button's name. */
  what: string;
  text: string;
  /** What is shown, if that is less. */
  shown?: string;
}

export function CopyText({ what, text, shown = text }: Props) {
  const notices = useNotices();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      notices.done(`Copied the ${what}`);
    } catch {
      // Forbidden by the browser: the text is there to be marked by hand.
      notices.failed(`The ${what} was not copied`, new Error(`Copy it by hand: ${text}`));
    }
  };
  return (
    <span className="sk-copy">
      <span className="sk-mono" title={text}>
        {shown}
      </span>
      <Button
        variant="plain"
        size="sm"
        aria-label={`Copy the ${what}`}
        icon={<CopyIcon />}
        onClick={() => void copy()}
      />
    </span>
  );
}
