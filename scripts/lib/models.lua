-- The networks that `pare.model "name"` and `pare list models` know.
--
-- An entry: doc (one sentence), build(g, x, classes, options) -> last node, options (defaults; a script
-- may give others of the same type), and input and classes for commands that have no dataset. A mistake
-- in an option is raised with level 0: pare puts the line of the user's script before it.

local models = {}

local digits = { 28, 28, 1 }

models.lenet300 = {
  doc = "LeNet-300-100: fully connected, 784-300-100-10 on 28x28 images.",
  input = digits,
  build = function(g, x, classes)
    local y = g:flatten(x)
    y = g:relu(g:linear(y, { name = "fc1", out = 300 }))
    y = g:relu(g:linear(y, { name = "fc2", out = 100 }))
    return g:linear(y, { name = "fc3", out = classes })
  end,
}

models.lenet5 = {
  doc = "LeNet-5 as in Caffe: convolutions 20 and 50 of 5x5, each with 2x2 max pooling, then 500 and 10.",
  input = digits,
  build = function(g, x, classes)
    local y = g:conv2d(x, { name = "conv1", out = 20, kernel = 5 })
    y = g:max_pool(y, { name = "pool1", kernel = 2 })
    y = g:conv2d(y, { name = "conv2", out = 50, kernel = 5 })
    y = g:max_pool(y, { name = "pool2", kernel = 2 })
    y = g:relu(g:linear(g:flatten(y), { name = "fc1", out = 500 }))
    return g:linear(y, { name = "fc2", out = classes })
  end,
}

-- A convolution without bias and its batch norm, named as in torchvision: conv1, bn1.
local function conv_bn(g, x, prefix, k, options)
  options.name = prefix .. "conv" .. k
  options.bias = false
  return g:batch_norm(g:conv2d(x, options), { name = prefix .. "bn" .. k })
end

-- The way around a block: x itself, or, where the shape changes, option A (every second pixel, zero
-- channels added, no parameters) or option B (a 1x1 convolution with batch norm).
local function around(g, x, prefix, out, stride, shortcut)
  if x.channels == out and stride == 1 then
    return x
  elseif shortcut == "A" then
    return g:shortcut(x, { name = prefix .. "shortcut", out = out, stride = stride })
  end
  local y = g:conv2d(x, { name = prefix .. "downsample.0", out = out, kernel = 1, stride = stride, bias = false })
  return g:batch_norm(y, { name = prefix .. "downsample.1" })
end

-- skips "single": one way around both convolutions; "double": one around each, as Bi-Real Net has it (arXiv
-- 1808.00278), so that what 1-bit values cannot carry gets past every layer.
local function block(g, x, prefix, out, stride, options)
  local y = conv_bn(g, x, prefix, 1, { out = out, kernel = 3, stride = stride, pad = 1 })
  if options.skips == "double" then
    y = g:add(y, around(g, x, prefix, out, stride, options.shortcut), { name = prefix .. "add1" })
  end
  y = g:relu(y, { name = prefix .. "relu1" })
  local z = conv_bn(g, y, prefix, 2, { out = out, kernel = 3, pad = 1 })
  if options.skips == "double" then
    z = g:add(z, y, { name = prefix .. "add2" })
  else
    z = g:add(z, around(g, x, prefix, out, stride, options.shortcut), { name = prefix .. "add" })
  end
  return g:relu(z, { name = prefix .. "relu2" })
end

-- He et al. 2015 (arXiv 1512.03385), section 4.2: depth 6n+2, three stages of n blocks with 16, 32 and 64
-- channels.
local function resnet(g, x, classes, depth, options)
  local shortcut, skips = options.shortcut, options.skips
  if math.type(depth) ~= "integer" or depth < 8 or depth > 1202 or (depth - 2) % 6 ~= 0 then
    error(("depth is %s, wanted 6n+2: 8, 14, 20, ..., 1202"):format(depth), 0)
  end
  if shortcut ~= "A" and shortcut ~= "B" then
    error(("shortcut is '%s', wanted 'A' (padded) or 'B' (1x1 convolution)"):format(shortcut), 0)
  end
  if skips ~= "single" and skips ~= "double" then
    error(("skips is '%s', wanted 'single' (around two convolutions) or 'double' (around each)"):format(skips), 0)
  end
  local y = g:relu(conv_bn(g, x, "", 1, { out = 16, kernel = 3, pad = 1 }), { name = "relu" })
  for stage = 1, 3 do
    for i = 0, (depth - 2) // 6 - 1 do
      local stride = (stage > 1 and i == 0) and 2 or 1
      y = block(g, y, ("layer%d.%d."):format(stage, i), 8 << stage, stride, options)
    end
  end
  return g:linear(g:global_avg_pool(y, { name = "avgpool" }), { name = "fc", out = classes })
end

models.resnet = {
  doc = "ResNet for small images of any depth 6n+2 (option depth), 16-32-64 channels; shortcut A or B; skips single "
    .. "or double.",
  input = { 32, 32, 3 },
  options = { depth = 20, shortcut = "A", skips = "single" },
  build = function(g, x, classes, options)
    return resnet(g, x, classes, options.depth, options)
  end,
}

for _, depth in ipairs { 8, 20, 32, 44, 56 } do
  models["resnet" .. depth] = {
    doc = ("ResNet%d for small images, 16-32-64 channels; option shortcut: A (padded) or B (1x1 convolution); "
      .. "option skips: single or double (Bi-Real Net).")
      :format(depth),
    input = { 32, 32, 3 },
    options = { shortcut = "A", skips = "single" },
    build = function(g, x, classes, options)
      return resnet(g, x, classes, depth, options)
    end,
  }
end

return models
