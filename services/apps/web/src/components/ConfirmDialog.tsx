// Asks before something that cannot be undone or that interrupts service.

import { Alert, Button, Modal, ModalBody, ModalFooter, ModalHeader } from "../patternfly";
import { type ReactNode, useState } from "react";
import { isUnauthenticated } from "../api/client";
import { explain } from "../api/problem";
import { endedNotice, useSession } from "../session";

interface Props {
  title: string;
  children: ReactNode;
  action: string;
  onConfirm: () => Promise<unknown>;
  onClose: () => void;
}

export function ConfirmDialog({ title, children, action, onConfirm, onClose }: Props) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const { ended } = useSession();
  const confirm = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await onConfirm();
      onClose();
    } catch (error) {
      if (isUnauthenticated(error)) ended(endedNotice);
      setProblem(explain(error));
      setBusy(false);
    }
  };
  return (
    <Modal isOpen variant="small" onClose={onClose} aria-labelledby="confirm-title" aria-describedby="confirm-text">
      <ModalHeader title={title} titleIconVariant="warning" labelId="confirm-title" />
      <ModalBody id="confirm-text">
        {problem ? <Alert variant="danger" isInline title={problem} className="sk-gap-below" /> : null}
        {children}
      </ModalBody>
      <ModalFooter>
        <Button variant="danger" onClick={() => void confirm()} isLoading={busy} isDisabled={busy}>
          {action}
        </Button>
        <Button variant="link" onClick={onClose}>
          Cancel
        </Button>
      </ModalFooter>
    </Modal>
  );
}
