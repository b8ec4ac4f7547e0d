// Compiles one SPIR-V compute shader with a Vulkan driver and prints the driver's own
// pipeline-executable statistics. With RADV's null hardware (RADV_FORCE_FAMILY=navi31) no GPU is needed.
// usage: vkstats shader.spv entry set:binding:s|u ...
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vulkan.h>
#define CHECK(x) do { VkResult r_ = (x); if (r_) { fprintf(stderr, "%s -> %d\n", #x, r_); exit(1); } } while (0)
#define MAX_SETS 4
int main(int argc, char **argv) {
  if (argc < 3) { fprintf(stderr, "usage: vkstats shader.spv entry [set:binding:s|u ...]\n"); return 2; }
  FILE *f = fopen(argv[1], "rb"); if (!f) { perror(argv[1]); return 2; }
  fseek(f, 0, SEEK_END); long n = ftell(f); rewind(f);
  uint32_t *code = malloc(n); if (fread(code, 1, n, f) != (size_t)n) return 2; fclose(f);
  VkApplicationInfo app = {VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_3};
  VkInstanceCreateInfo ici = {VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app};
  VkInstance inst; CHECK(vkCreateInstance(&ici, 0, &inst));
  uint32_t np = 1; VkPhysicalDevice pd; VkResult r = vkEnumeratePhysicalDevices(inst, &np, &pd);
  if (np < 1 || (r && r != VK_INCOMPLETE)) { fprintf(stderr, "no Vulkan device\n"); return 1; }
  VkPhysicalDeviceProperties pp; vkGetPhysicalDeviceProperties(pd, &pp); printf("device %s\n", pp.deviceName);
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR pe = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR};
  VkPhysicalDeviceVulkan13Features f13 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES, &pe};
  VkPhysicalDeviceVulkan12Features f12 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, &f13};
  VkPhysicalDeviceVulkan11Features f11 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, &f12};
  VkPhysicalDeviceFeatures2 f2 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &f11};
  vkGetPhysicalDeviceFeatures2(pd, &f2);
  f2.features.robustBufferAccess = 0; f13.robustImageAccess = 0;
  float prio = 1; VkDeviceQueueCreateInfo q = {VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &prio};
  const char *ext[] = {"VK_KHR_pipeline_executable_properties"};
  VkDeviceCreateInfo dci = {VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, &f2, .queueCreateInfoCount = 1, .pQueueCreateInfos = &q, .enabledExtensionCount = 1, .ppEnabledExtensionNames = ext};
  VkDevice dev; CHECK(vkCreateDevice(pd, &dci, 0, &dev));
  VkShaderModuleCreateInfo smi = {VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = n, .pCode = code};
  VkShaderModule sm; CHECK(vkCreateShaderModule(dev, &smi, 0, &sm));
  VkDescriptorSetLayoutBinding b[MAX_SETS][64]; uint32_t nb[MAX_SETS] = {0}; int sets = 0;
  for (int i = 3; i < argc; i++) { int s, k; char t; if (sscanf(argv[i], "%d:%d:%c", &s, &k, &t) != 3 || s >= MAX_SETS) return 2;
    b[s][nb[s]++] = (VkDescriptorSetLayoutBinding){k, t == 'u' ? VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, 0};
    if (s + 1 > sets) sets = s + 1; }
  VkDescriptorSetLayout dl[MAX_SETS];
  for (int s = 0; s < sets; s++) { VkDescriptorSetLayoutCreateInfo li = {VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, .bindingCount = nb[s], .pBindings = b[s]}; CHECK(vkCreateDescriptorSetLayout(dev, &li, 0, &dl[s])); }
  VkPushConstantRange pc = {VK_SHADER_STAGE_COMPUTE_BIT, 0, 128};
  VkPipelineLayoutCreateInfo pli = {VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = sets, .pSetLayouts = dl, .pushConstantRangeCount = 1, .pPushConstantRanges = &pc};
  VkPipelineLayout pl; CHECK(vkCreatePipelineLayout(dev, &pli, 0, &pl));
  VkComputePipelineCreateInfo ci = {VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO, .flags = VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR | VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR,
    .stage = {VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, .stage = VK_SHADER_STAGE_COMPUTE_BIT, .module = sm, .pName = argv[2]}, .layout = pl};
  VkPipeline p; CHECK(vkCreateComputePipelines(dev, 0, 1, &ci, 0, &p));
  PFN_vkGetPipelineExecutablePropertiesKHR gp = (void *)vkGetDeviceProcAddr(dev, "vkGetPipelineExecutablePropertiesKHR");
  PFN_vkGetPipelineExecutableStatisticsKHR gs = (void *)vkGetDeviceProcAddr(dev, "vkGetPipelineExecutableStatisticsKHR");
  PFN_vkGetPipelineExecutableInternalRepresentationsKHR gi = (void *)vkGetDeviceProcAddr(dev, "vkGetPipelineExecutableInternalRepresentationsKHR");
  VkPipelineInfoKHR pi = {VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = p}; uint32_t ne = 0; CHECK(gp(dev, &pi, &ne, 0));
  VkPipelineExecutablePropertiesKHR *ep = calloc(ne, sizeof *ep);
  for (uint32_t e = 0; e < ne; e++) ep[e].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
  CHECK(gp(dev, &pi, &ne, ep));
  for (uint32_t e = 0; e < ne; e++) {
    VkPipelineExecutableInfoKHR ei = {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = p, .executableIndex = e};
    printf("lanes %u\n", ep[e].subgroupSize);
    uint32_t ns = 0; CHECK(gs(dev, &ei, &ns, 0)); VkPipelineExecutableStatisticKHR *st = calloc(ns, sizeof *st);
    for (uint32_t i = 0; i < ns; i++) st[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR; CHECK(gs(dev, &ei, &ns, st));
    for (uint32_t i = 0; i < ns; i++) { printf("stat %s = ", st[i].name);
      if (st[i].format == VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR) printf("%g\n", st[i].value.f64); else printf("%llu\n", (unsigned long long)st[i].value.u64); }
    if (getenv("VKSTATS_ISA") && gi) { uint32_t nr = 0; gi(dev, &ei, &nr, 0); VkPipelineExecutableInternalRepresentationKHR *ir = calloc(nr, sizeof *ir);
      for (uint32_t i = 0; i < nr; i++) ir[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR;
      gi(dev, &ei, &nr, ir); for (uint32_t i = 0; i < nr; i++) ir[i].pData = malloc(ir[i].dataSize + 1); gi(dev, &ei, &nr, ir);
      for (uint32_t i = 0; i < nr; i++) printf("--- %s\n%.*s\n", ir[i].name, (int)ir[i].dataSize, (char *)ir[i].pData); }
  }
  return 0;
}
