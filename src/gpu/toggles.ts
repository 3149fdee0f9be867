/** `production` drops Dawn's validation and bounds checks; `checked` keeps them (tests, doctor). */
export type ToggleSet = 'production' | 'checked';

const ENABLE: Record<ToggleSet, string[]> = {
  production: [
    'allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia', 'disable_workgroup_init', 'disable_robustness',
    'disable_polyfills_on_integer_div_and_mod', 'skip_validation',
  ],
  checked: ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia', 'disable_workgroup_init'],
};
const DISABLE: Record<ToggleSet, string[]> = {
  production: ['lazy_clear_resource_on_first_use', 'timestamp_quantization'],
  checked: ['timestamp_quantization'],
};

/** The toggles a device is made with, as Dawn names them. */
export const toggleList = (set: ToggleSet): { enable: string[]; disable: string[] } => ({
  enable: ENABLE[set],
  disable: DISABLE[set],
});
