// Holds a fault of one screen to that screen: the rest of the page stays usable, and the operator is told.

import { Component, type ReactNode } from "react";
import { Alert, Button, PageSection } from "../patternfly";

interface Props {
  children: ReactNode;
}

interface State {
  fault: string | null;
}

export class Boundary extends Component<Props, State> {
  override state: State = { fault: null };

  static getDerivedStateFromError(error: unknown): State {
    return { fault: error instanceof Error ? error.message : String(error) };
  }

  override render() {
    const { fault } = this.state;
    if (fault === null) return this.props.children;
    return (
      <PageSection>
        <Alert
          variant="danger"
          isInline
          title="This screen cannot be shown"
          actionLinks={
            <Button variant="link" isInline onClick={() => window.location.reload()}>
              Load the page again
            </Button>
          }
        >
          That is a fault of the page, and nothing on the node has changed: {fault}. The command line shows the same as
          this screen.
        </Alert>
      </PageSection>
    );
  }
}
