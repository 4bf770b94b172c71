// What can be done with one row of a list, behind one button.

import { Dropdown, DropdownItem, DropdownList, MenuToggle } from "../patternfly";
import EllipsisVIcon from "@patternfly/react-icons/dist/esm/icons/ellipsis-v-icon";
import { useState } from "react";

export interface RowAction {
  word: string;
  /** Why it is not possible now; empty if it is. */
  why?: string;
  danger?: boolean;
  onDo: () => void;
}

export function RowMenu({ name, actions }: { name: string; actions: RowAction[] }) {
  const [open, setOpen] = useState(false);
  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      onSelect={() => setOpen(false)}
      popperProps={{ position: "right" }}
      shouldFocusToggleOnSelect
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
      <DropdownList>
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
      </DropdownList>
    </Dropdown>
  );
}
