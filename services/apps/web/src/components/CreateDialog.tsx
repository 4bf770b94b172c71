// The frame of the create forms: sends, shows what the node refuses at its field, closes when it is done.

import { Alert, Button, Form, Modal, ModalBody, ModalFooter, ModalHeader } from "../patternfly";
import { type SubmitEvent, type ReactNode, useState } from "react";
import { isUnauthenticated } from "../api/client";
import { type Faults, refusalToForm } from "../forms/fields";
import { endedNotice, useSession } from "../session";

interface Props {
  title: string;
  /** What the button says. */
  action?: string;
  /** Checks what was typed, before anything is sent. */
  check: () => Faults;
  send: () => Promise<unknown>;
  shows: (field: string) => boolean;
  onClose: () => void;
  /** Where typing begins. */
  focus?: string;
  children: (faults: Faults) => ReactNode;
}

export function CreateDialog({ title, action = "Create", check, send, shows, onClose, focus, children }: Props) {
  const [faults, setFaults] = useState<Faults>({});
  const [general, setGeneral] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const { ended } = useSession();
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    setGeneral(null);
    const found = check();
    setFaults(found);
    if (Object.keys(found).length > 0) return;
    setBusy(true);
    try {
      await send();
      onClose();
    } catch (error) {
      if (isUnauthenticated(error)) ended(endedNotice);
      const refusal = refusalToForm(error, shows);
      setFaults(refusal.faults);
      setGeneral(refusal.general);
      setBusy(false);
    }
  };
  return (
    <Modal
      isOpen
      variant="medium"
      onClose={onClose}
      aria-labelledby="create-title"
      elementToFocus={focus ?? "#create-name"}
    >
      <ModalHeader title={title} labelId="create-title" />
      <ModalBody>
        <Form id="create-form" onSubmit={(event) => void submit(event)} noValidate>
          {general ? <Alert variant="danger" isInline title={general} /> : null}
          {children(faults)}
        </Form>
      </ModalBody>
      <ModalFooter>
        <Button type="submit" form="create-form" isLoading={busy} isDisabled={busy}>
          {action}
        </Button>
        <Button variant="link" onClick={onClose}>
          Cancel
        </Button>
      </ModalFooter>
    </Modal>
  );
}
