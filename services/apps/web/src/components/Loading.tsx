import { Bullseye, Spinner } from "../patternfly";

/** Shown until the first answer of the node is in. */
export function Loading() {
  return (
    <Bullseye className="sk-pad">
      <Spinner aria-label="Loading" />
    </Bullseye>
  );
}
