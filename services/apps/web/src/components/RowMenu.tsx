// What can be done with one row of a list, behind one button.

import { Dropdown, DropdownItem, DropdownList, MenuToggle } from "../patternfly";
import EllipsisVIcon from "@patternfly/react-icons/dist/esm/icons/ellipsis-v-icon";
import { type ReactNode, useState } from "react";

export interface RowAction {
  word: string;
  /** Why it is not possible now; empty if it is. */
  why?: string;
  danger?: boolean;
  onDo: () => void;
}

/** The button at the end of a row, and what opens below it. */
export function MoreActions({ name, children }: { name: string; children: ReactNode }) {
  const [open, setOpen] = useState(false);
  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      onSelect={() => setOpen(false)}
      popperProps={{ position: "right" }}
      shouldFocusToggleOnSelect
      isScrollable
      toggle={(ref) => (
        <MenuToggle
          ref={ref}
          variant="plain"
          aria-label={`More actions on ${name}`}
          isExpanded={open}
          onClick={() => setOpen(!open)}
          icon={<EllipsisVIcon />}
        />
      )}
    >
      <DropdownList>{children}</DropdownList>
    </Dropdown>
  );
}

export function RowMenu({ name, actions }: { name: string; actions: RowAction[] }) {
  return (
    <MoreActions name={name}>
      {actions.map(({ word, why, danger, onDo }) => (
        <DropdownItem
          key={word}
          isDanger={danger ?? false}
          isDisabled={Boolean(why)}
          description={why || undefined}
          onClick={onDo}
        >
          {word}
        </DropdownItem>
      ))}
    </MoreActions>
  );
}
