// Chooses among the images of the right form that the node can use.

import { FormSelect, FormSelectOption } from "../patternfly";
import type { Image, ImageSpec } from "../api/types";
import { FieldFrame } from "./Field";

interface Props {
  images: Image[];
  /** What may be chosen in their place: its value and its words. */
  instead?: [value: string, label: string];
  value: string;
  fault?: string | undefined;
  onValue: (image: string) => void;
}

/** The images that a kind of workload can start from, usable ones only. */
export function usableImages(images: Image[], ...formats: ImageSpec["format"][]): Image[] {
  return images.filter((image) => formats.includes(image.spec.format) && image.status?.state === "available");
}

export function ImageSelect({ images, instead, value, fault, onValue }: Props) {
  const rule = images.length === 0 ? "This node has no usable image of this kind; see Images." : undefined;
  return (
    <FieldFrame id="create-image" label="Image" required fault={fault} rule={rule}>
      <FormSelect
        id="create-image"
        value={value}
        validated={fault ? "error" : "default"}
        onChange={(_event, image) => onValue(image)}
        aria-describedby={fault || rule ? "create-image-help" : undefined}
      >
        <FormSelectOption value="" label="Choose an image" isPlaceholder />
        {images.map(({ metadata, spec }) => (
          <FormSelectOption
            key={metadata.id}
            value={metadata.name}
            label={spec.description ? `${metadata.name}: ${spec.description}` : metadata.name}
          />
        ))}
        {instead ? <FormSelectOption value={instead[0]} label={instead[1]} /> : null}
      </FormSelect>
    </FieldFrame>
  );
}
